import inspect
import json
import shutil
import sys

import pytest
import torch
from PIL import Image

from lightning_colorize.common.digest import sha256_of_files
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.common.files import files_below
from lightning_colorize.inference import load_model
from lightning_colorize.models.base import View

_CALL = {"prompt": "a", "num_inference_steps": 4, "strength": 0.5, "guidance_scale": 2}

pytestmark = pytest.mark.slow  # importing diffusers takes seconds


def _save_pipeline(folder, cls, channels=4):
    """Write a pipeline of random weights."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    blocks = {"norm_num_groups": 2, "layers_per_block": 1}
    words = folder.with_name("words")
    words.mkdir()
    vocabulary = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2, "a": 3}
    (words / "vocab.json").write_text(json.dumps(vocabulary))
    (words / "merges.txt").write_text("#version: 0.2\n")
    cls(
        vae=AutoencoderKL(
            **blocks,
            block_out_channels=(4, 8),
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
        ),
        unet=UNet2DConditionModel(
            **blocks,
            sample_size=64,
            in_channels=channels,
            block_out_channels=(8, 16),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=8,
            attention_head_dim=4,
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                hidden_size=8,
                intermediate_size=8,
                num_attention_heads=2,
                num_hidden_layers=1,
                vocab_size=len(vocabulary),
                max_position_embeddings=8,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        ),
        tokenizer=CLIPTokenizer.from_pretrained(words, model_max_length=8),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def from_text(tmp_path_factory):
    """A pipeline from text to image, as most are published."""
    from diffusers import StableDiffusionPipeline

    return _save_pipeline(tmp_path_factory.mktemp("saved") / "sd", StableDiffusionPipeline)


@pytest.fixture
def folder(from_text, tmp_path):
    """A copy of the pipeline."""
    return shutil.copytree(from_text, tmp_path / "pipeline")


def _describe(folder, **settings):
    content = {"pipeline": folder.name, "size": 32, "call": _CALL}
    content["sha256"] = sha256_of_files(folder, files_below(folder))
    file = folder.parent / "their.yaml"
    file.write_text(json.dumps(content | settings))  # which is YAML
    return file


def _paint(model, image):
    return model.model.paint("a", image, View(lambda rgb: rgb))


def _colored(file, image=None):
    if image is None:
        image = (torch.rand(3, 40, 48, generator=torch.Generator().manual_seed(0)) * 255).byte()
    return _paint(load_model(file), image)


def test_a_pipeline_colors_and_repeats_itself_by_its_seed(folder):
    model = load_model(_describe(folder))
    image = torch.zeros(3, 40, 48, dtype=torch.uint8)
    image[:, :, 24:] = 200
    first = _paint(model, image)
    assert (first.shape, first.dtype) == (image.shape, torch.uint8)
    assert first.float().var(dim=0).mean() > 1  # in color
    _paint(model, image.flip(-1))
    assert _paint(model, image).equal(first)
    assert _colored(_describe(folder), image).equal(first)
    assert not _colored(_describe(folder, seed=1), image).equal(first)
    assert not _colored(_describe(folder, call=_CALL | {"strength": 1.0}), image).equal(first)
    # `colorize` keeps the lightness of the image.
    assert model.colorize(image).float().mean(dim=0)[:, 25:].min() > 100


def test_a_pipeline_sees_the_grey_image(folder, monkeypatch):
    from diffusers import StableDiffusionImg2ImgPipeline

    given = []
    call = StableDiffusionImg2ImgPipeline.__call__

    def recorded(self, image=None, generator=None, **rest):
        given.append((image, rest))
        return call(self, image=image, generator=generator, **rest)

    recorded.__signature__ = inspect.signature(call)
    monkeypatch.setattr(StableDiffusionImg2ImgPipeline, "__call__", recorded)
    _colored(_describe(folder, multiple=16))
    ((image, rest),) = given
    assert (image.mode, image.size) == ("RGB", (48, 32))
    red, green, _ = image.split()
    assert red.tobytes() == green.tobytes()
    assert rest == _CALL


@pytest.mark.parametrize(
    ("refused", "call", "message"),
    [
        ([True], {}, "the safety checker of StableDiffusionImg2ImgPipeline made the image black"),
        ([False], {"output_type": "np"}, "returned no PIL image"),
    ],
)
def test_what_is_no_colored_image_is_an_error(folder, monkeypatch, refused, call, message):
    from diffusers import StableDiffusionImg2ImgPipeline

    monkeypatch.setattr(
        StableDiffusionImg2ImgPipeline,
        "run_safety_checker",
        lambda self, image, device, dtype: (image, refused),
    )
    with pytest.raises(WorkError, match=message):
        _colored(_describe(folder, call=_CALL | call))


def test_a_pipeline_of_instructions_takes_the_same_file(tmp_path):
    from diffusers import StableDiffusionInstructPix2PixPipeline

    saved = _save_pipeline(tmp_path / "edit", StableDiffusionInstructPix2PixPipeline, channels=8)
    call = {"prompt": "color photograph", "num_inference_steps": 2, "image_guidance_scale": 1.5}
    assert _colored(_describe(saved, call=call)).shape == (3, 40, 48)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_folder_of_pickles_is_refused(folder):
    for file in folder.rglob("*.safetensors"):
        from safetensors.torch import load_file

        stem = "pytorch_model" if file.parent.name == "text_encoder" else file.stem
        torch.save(load_file(file), file.with_name(f"{stem}.bin"))
        file.unlink()
    with pytest.raises(UsageError, match=r"pipeline cannot be read: .*safetensors") as caught:
        load_model(_describe(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (["antigravity", "fly"], "names fly of antigravity; only classes of diffusers"),
        (["their", "Their"], "names Their of their; only classes of diffusers"),
        (["diffusers.pipelines", "os"], "only classes of diffusers"),
        (["diffusers", ["a", "b"]], "only classes of diffusers"),
    ],
)
def test_an_index_cannot_name_other_code(folder, component, message):
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"unet": component}))
    with pytest.raises(UsageError, match=message):
        load_model(_describe(folder))
    assert "antigravity" not in sys.modules


def test_code_and_pipelines_in_the_folder_are_refused(folder):
    code = folder / "unet" / "their.py"
    code.write_text("raise SystemExit")
    with pytest.raises(UsageError, match=r"their\.py is code"):
        load_model(_describe(folder))
    code.unlink()
    shutil.copy(folder / "model_index.json", folder / "unet")
    with pytest.raises(UsageError, match="nested pipelines are not loaded"):
        load_model(_describe(folder))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"call": {"promt": "a"}}, "StableDiffusionImg2ImgPipeline takes no promt, only prompt, "),
        ({"image": "grey"}, "takes no grey, only prompt, image, "),
    ],
)
def test_a_wrong_argument_is_one_line(folder, settings, message):
    with pytest.raises(UsageError, match=message):
        load_model(_describe(folder, **settings))


def test_a_missing_argument_is_named(folder):
    model = load_model(_describe(folder, call={}))
    with pytest.raises(WorkError, match=r"the program failed: .*prompt") as caught:
        model.colorize(torch.zeros(3, 40, 48, dtype=torch.uint8))
    assert "\n" not in str(caught.value)


def test_a_pipeline_is_evaluated_compared_and_colors(command, from_text, tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for index in range(2):
        pixels = torch.rand(40, 48, 3, generator=torch.Generator().manual_seed(index)) * 255
        Image.fromarray(pixels.byte().numpy()).resize((60, 48)).save(data / f"{index}.png")
    file = _describe(shutil.copytree(from_text, tmp_path / "pipeline"))
    (tmp_path / "small.yaml").write_text("size: 32\nshape: crop\n")
    words = ("--data", data, "--json", tmp_path / "a.json", "--device", "cpu")
    assert command("protocol", tmp_path / "small.yaml", file, *words) == 0
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["rows"]["system"]["colorfulness"]["value"] > 1
    words = ("--data", data, "--out", tmp_path / "page", "--size", 32, "--device", "cpu")
    assert command("compare", f"their={file}", f"same={data}", *words) == 0
    assert "their" in (tmp_path / "page/index.html").read_text()
    capsys.readouterr()
    bytes_of = []
    for _ in range(2):
        assert command("colorize", data, out, "--checkpoint", file, "--overwrite") == 0
        bytes_of.append([(out / f"{index}.png").read_bytes() for index in range(2)])
    assert bytes_of[0] == bytes_of[1]
    assert "it/s" not in capsys.readouterr().err
