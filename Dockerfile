# docker build -t lightning-colorize .
# docker build --build-arg CUDA=12.8 -t lightning-colorize:cu128 .
# docker build --build-arg CUDA=cpu -t lightning-colorize:cpu .
# docker run --rm --gpus all --ipc=host -v "$PWD":/data -v colorize-cache:/cache \
#     lightning-colorize fit --config experiments/quickstart.yaml
FROM python:3.12.12-slim-trixie

# torch.compile calls a compiler: g++ on the CPU, gcc for Triton's launchers on a GPU. Debian removes
# old versions from its mirrors, so a pinned one could not be installed for long.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc g++ libc6-dev \
    && rm -rf /var/lib/apt/lists/*

RUN pip install --no-cache-dir "uv>=0.9,<1" \
    && useradd --create-home --uid 1000 colorize \
    && install --directory --owner=1000 --group=1000 /cache /cache/torch /cache/huggingface

WORKDIR /app

# default: PyTorch as its registry has it, with NVIDIA's libraries (the driver is the host's); it
# runs without a GPU too. A version of CUDA: PyTorch's own build for it, for an older driver. cpu:
# without NVIDIA's libraries, some gigabytes less.
ARG CUDA=default

# Dependencies first: they change seldom, and this layer has gigabytes.
COPY pyproject.toml ./
RUN case "$CUDA" in \
      default) ;; \
      cpu) export UV_TORCH_BACKEND=cpu ;; \
      1[0-9].[0-9]) export UV_TORCH_BACKEND="cu${CUDA%.*}${CUDA#*.}" ;; \
      *) echo "CUDA is default, cpu or a version such as 12.8, not $CUDA" >&2; exit 2 ;; \
    esac \
    && uv pip install --system --no-cache -r pyproject.toml --all-extras

COPY README.md LICENSE ./
COPY docs/photographs docs/photographs
COPY experiments experiments
COPY sweeps sweeps
COPY lightning_colorize lightning_colorize
RUN uv pip install --system --no-cache --no-deps .

# Pretrained weights of torchvision and of the Hugging Face Hub: mount a volume to keep them.
ENV TORCH_HOME=/cache/torch HF_HOME=/cache/huggingface
VOLUME ["/cache"]

USER 1000
WORKDIR /data

ENTRYPOINT ["lightning-colorize"]
CMD ["--help"]
