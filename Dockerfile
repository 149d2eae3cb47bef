# Hookline, for one role per container: `ingress`, `worker FILE.py`, or anything else that `hookline` does.
# Nothing here needs root, a shell or a writable root filesystem at run time. compose.yaml takes all three away.

# Pinned to the minor version. NAME:TAG@sha256:… pins it to its bytes.
ARG PYTHON_IMAGE=python:3.11-slim-trixie

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_REQUIRE_HASHES=1 PIP_ONLY_BINARY=:all:

# Dependencies first: they change less often than the code. `make lock` writes both files. Only wheels of known hashes
# are installed: nothing is compiled, and no setup.py runs.
COPY deploy/requirements.lock deploy/build.lock ./
RUN python -m venv --without-pip /opt/hookline \
    && pip --python /opt/hookline/bin/python install --requirement requirements.lock \
    && python -m venv --without-pip /opt/build \
    && pip --python /opt/build/bin/python install --requirement build.lock

COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY ingress ingress
COPY workers workers
COPY broker broker
COPY hookline hookline
RUN /opt/build/bin/python -m hatchling build --target wheel --directory dist \
    && PIP_REQUIRE_HASHES=0 pip --python /opt/hookline/bin/python install --no-index --no-deps dist/*.whl


FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Hookline" \
      org.opencontainers.image.description="Queue-backed ingestion of webhooks from real-time audio/video clouds" \
      org.opencontainers.image.licenses="Apache-2.0"

# A fixed number, so that volumes and mounted files can be given to it. A fresh named volume gets the owner and mode of
# the folder.
RUN groupadd --gid 10001 hookline \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/hookline --shell /usr/sbin/nologin hookline \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/hookline
COPY --from=build /opt/hookline /opt/hookline
COPY deploy/compose_setup.py deploy/settings.toml /opt/hookline/deploy/

# pip has written the byte code; there is nowhere to write it later.
ENV PATH=/opt/hookline/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOOKLINE_CONFIG=/etc/hookline/hookline.toml
WORKDIR /var/lib/hookline
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# What "healthy" means differs by role: see compose.yaml.
ENTRYPOINT ["hookline"]
CMD ["--help"]
