# One image for every role and every `creatives` command. Settings and weights come from outside.
FROM python:3.12-slim AS build
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /app
COPY requirements.lock ./
# uv itself comes from the lock file: every package is pinned and hash-checked.
RUN sed -n '/^uv==/,/^    # via/p' requirements.lock > uv.txt \
    && pip install --no-cache-dir --require-hashes -r uv.txt \
    && uv venv /opt/creatives \
    && uv pip sync --no-cache --python /opt/creatives/bin/python --require-hashes -b requirements.lock requirements.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY schemas schemas
COPY models models
COPY streams streams
COPY docs/examples docs/examples
RUN uv pip install --no-cache --python /opt/creatives/bin/python --no-deps --no-build-isolation --editable .

FROM python:3.12-slim
# Only root may read this copy of env, so the kernel lets no other process of the user read its environment.
RUN useradd --system --uid 10001 --create-home creatives \
    && install -m 0711 /usr/bin/env /usr/local/bin/hidden-env
COPY --from=build /opt/creatives /opt/creatives
COPY --from=build /app /app
ENV PATH=/opt/creatives/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CREATIVES_WEB__HOST=0.0.0.0 \
    CREATIVES_WEB__PORT=6066 \
    CREATIVES_WEB__GALLERY_PORT=6067 \
    CREATIVES_LOG__FORMAT=json
WORKDIR /app
USER creatives
EXPOSE 6066 6067
# Checks liveness, not readiness: a worker waits for a broker or store that is down, and a restart would not help.
# hidden-env -i: the device process could read the environment of a check that inherits the container's.
HEALTHCHECK --interval=15s --timeout=5s --start-period=180s --retries=4 \
    CMD ["hidden-env", "-i", "/opt/creatives/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:6066/health/live', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["creatives"]
CMD ["worker"]
