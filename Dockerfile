# docker build -t lightning-colorize .
# docker run --rm --gpus all --ipc=host -v "$PWD":/data lightning-colorize fit --config experiments/quickstart.yaml
FROM python:3.12-slim

RUN pip install --no-cache-dir uv \
    && useradd --create-home --uid 1000 colorize

WORKDIR /app

# Dependencies first: they change seldom, and this layer has gigabytes.
COPY pyproject.toml ./
RUN uv pip install --system --no-cache -r pyproject.toml

COPY README.md LICENSE ./
COPY experiments experiments
COPY sweeps sweeps
COPY lightning_colorize lightning_colorize
RUN uv pip install --system --no-cache --no-deps .

USER colorize
WORKDIR /data

ENTRYPOINT ["lightning-colorize"]
CMD ["--help"]
