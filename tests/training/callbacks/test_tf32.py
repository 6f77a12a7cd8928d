import torch


def precision():
    backends = torch.backends
    return backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision


def test_configured_callback_restores_the_precision_after_the_run(command, monkeypatch):
    before, settings, update = precision(), [], torch.optim.Adam.step

    def step(self, *args, **kwargs):
        settings.append(precision())
        return update(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    callback = "--trainer.callbacks+=lightning_colorize.training.callbacks.TF32"
    command.fit("tf32", callback, "--trainer.max_epochs", 1)
    assert set(settings) == {("tf32", "tf32")}
    assert precision() == before
