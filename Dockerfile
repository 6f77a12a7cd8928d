# docker build -t lightning-colorize .
# docker build --build-arg DEVICE=cpu -t lightning-colorize:cpu .
# docker run --rm --gpus all --ipc=host -v "$PWD":/data lightning-colorize fit --config experiments/quickstart.yaml
FROM python:3.12-slim

RUN pip install --no-cache-dir "uv>=0.9,<1" \
    && useradd --create-home --uid 1000 colorize

WORKDIR /app

# cuda: PyTorch as its registry has it, with NVIDIA's libraries (the driver is the host's); it runs
# without a GPU too. cpu: without them, some gigabytes less.
ARG DEVICE=cuda

# Dependencies first: they change seldom, and this layer has gigabytes.
COPY pyproject.toml ./
RUN case "$DEVICE" in \
      cpu) export UV_TORCH_BACKEND=cpu ;; \
      cuda) ;; \
      *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 2 ;; \
    esac \
    && uv pip install --system --no-cache -r pyproject.toml --all-extras

COPY README.md LICENSE ./
COPY docs/photographs docs/photographs
COPY experiments experiments
COPY sweeps sweeps
COPY lightning_colorize lightning_colorize
RUN uv pip install --system --no-cache --no-deps .

USER 1000
WORKDIR /data

ENTRYPOINT ["lightning-colorize"]
CMD ["--help"]
