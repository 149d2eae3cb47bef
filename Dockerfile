# Hookline, for one role per container: `ingress`, `worker FILE.py`, or anything else that `hookline` does.
# Nothing here needs root, a shell or a writable root filesystem at run time; compose.yaml takes all three away.

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/hookline
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

# Dependencies first, and apart: they change less often than the code. Wheels only: nothing is compiled, and nobody's
# setup.py runs.
COPY pyproject.toml ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; x = p['optional-dependencies']; \
print(*p['dependencies'], *x['redis'], *x['postgresql'], sep='\n')" > requirements.txt \
    && pip --python /opt/hookline/bin/python install --only-binary :all: --requirement requirements.txt

COPY README.md LICENSE ./
COPY schemas schemas
COPY ingress ingress
COPY workers workers
COPY broker broker
COPY hookline hookline
RUN pip --python /opt/hookline/bin/python install --no-deps .


FROM python:3.13-slim
LABEL org.opencontainers.image.title="Hookline" \
      org.opencontainers.image.description="Queue-backed ingestion of webhooks from real-time audio/video clouds" \
      org.opencontainers.image.licenses="Apache-2.0"

# A number that is the same everywhere, so that volumes and mounted files can be given to it. A fresh named volume takes
# over the folder's owner and mode.
RUN groupadd --gid 10001 hookline \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/hookline --shell /usr/sbin/nologin hookline \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/hookline
COPY --from=build /opt/hookline /opt/hookline

# Byte code was written by pip; there is nowhere to write it later.
ENV PATH=/opt/hookline/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOOKLINE_CONFIG=/etc/hookline/hookline.toml
WORKDIR /var/lib/hookline
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# What "healthy" means differs by role: compose.yaml says it.
ENTRYPOINT ["hookline"]
CMD ["--help"]
