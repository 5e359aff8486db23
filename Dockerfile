# One image for worker, gateway and command line: docker run forebay worker
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS builder
WORKDIR /src
# Without pip: nothing can be installed in what runs.
RUN python -m venv --without-pip /opt/forebay
COPY requirements-image.lock ./
RUN pip --python /opt/forebay install --no-cache-dir --require-hashes --requirement requirements-image.lock
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY telemetry telemetry
COPY producers producers
COPY workers workers
COPY operations operations
COPY gateway gateway
COPY rehearsal rehearsal
COPY cli cli
RUN pip --python /opt/forebay install --no-cache-dir --no-deps --no-build-isolation . \
    && pip --python /opt/forebay uninstall --yes hatchling pathspec pluggy trove-classifiers

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="Forebay" \
      org.opencontainers.image.description="Peak-load buffering for LLM chat on Kafka" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 forebay \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin forebay \
    && install --directory --owner 10001 --group 10001 /data
COPY --from=builder /opt/forebay /opt/forebay
# One port for /livez, /readyz and /metrics, whichever process runs, so that the health check finds it.
ENV PATH=/opt/forebay/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FOREBAY_HEALTH_PORT=9464
# The root may be read-only: only the SQLite store, where it is used, is written, to this folder.
WORKDIR /data
VOLUME ["/data"]
USER 10001:10001
EXPOSE 8080 9464
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=6 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ['FOREBAY_HEALTH_PORT']}/livez\", timeout=2)"]
ENTRYPOINT ["forebay"]
CMD ["--help"]
