# A worker of `invid serve`, or any other command: docs/scaling.md has the calls.
# On a machine with a GPU: `docker run --gpus all ...`. The renderer is compiled for processors; torch brings CUDA.
FROM python:3.11.11-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ git libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --uid 1000 --create-home invid \
    && mkdir -p /opt/invid /cache /data \
    && chown invid:invid /opt/invid /cache /data
USER invid
WORKDIR /opt/invid

ENV VIRTUAL_ENV=/opt/invid/.venv \
    PATH=/opt/invid/.venv/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv .venv

# INVID_HOME is where runs start; the cache of stages lies in /cache/invid.
ENV INVID_HOME=/opt/invid \
    XDG_CACHE_HOME=/cache \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30 \
    PREFECT_WORKER_QUERY_SECONDS=2 \
    DO_NOT_TRACK=1
COPY --chown=invid:invid . .
RUN pip install -c constraints.txt -e .

VOLUME ["/cache", "/data"]
ENTRYPOINT ["invid"]
CMD ["--help"]
