# Two images: `serve` (the default) answers requests and holds no TensorFlow; `train` fits bundles.
# Where the build needs its host's pip settings or certificates, they are lent as secrets, as
# scripts/build-image does, and leave no trace in any layer.
# The base is what it was when it was chosen, whatever its tag names by now; for newer patches, name a newer one here.
ARG BASE=python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

# Dependencies, before any code, so that a change of code installs nothing.
FROM ${BASE} AS dependencies
# `pip --python` fills an environment that has no pip of its own. What is compiled here is never compared with
# its source again: a root file system that is read-only could not keep anything newer.
RUN python -m venv --without-pip /venv
# `tracing` adds OpenTelemetry to what serving needs.
ARG REQUIREMENTS=serving
COPY requirements/${REQUIREMENTS}.txt /requirements/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=certificates,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /venv/bin/python install --require-hashes --no-compile -r "/requirements/${REQUIREMENTS}.txt" \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /venv/lib

# What is installed, as a software bill of materials; the tool that lists it stays behind.
FROM dependencies AS bill
COPY requirements/sbom.txt pyproject.toml /requirements/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=certificates,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /tools \
    && python -m pip --python /tools/bin/python install --require-hashes --no-compile -r /requirements/sbom.txt \
    && /tools/bin/cyclonedx-py environment --output-reproducible --output-format JSON \
    --pyproject /requirements/pyproject.toml --output-file /sbom.cdx.json /venv/bin/python

FROM dependencies AS code
COPY seq2seq /srv/seq2seq
COPY app /srv/app
COPY models /srv/models
# Whatever the modes in the checkout, any user may read and only root may write.
RUN python -m compileall -q --invalidation-mode unchecked-hash /srv && chmod -R u=rwX,go=rX /srv

# Only `--target train` builds these two stages.
FROM dependencies AS training-dependencies
COPY requirements/training.txt /requirements/
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    --mount=type=secret,id=certificates,target=/etc/ssl/certs/ca-certificates.crt \
    --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /venv/bin/python install --require-hashes --no-compile -r /requirements/training.txt \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /venv/lib

FROM ${BASE} AS train
COPY --from=training-dependencies /venv /venv
COPY seq2seq /srv/seq2seq
COPY training /srv/training
# Mount two directories here: what is exact and ships is written to the first, all other bundles to the second.
VOLUME /srv/models /srv/runs
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /srv
USER 10001:10001
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]

FROM ${BASE} AS serve
COPY --from=dependencies /venv /venv
COPY --from=code /srv /srv
COPY --from=bill /sbom.cdx.json /usr/share/sbom/sequences-to-service.cdx.json
# ONNX Runtime would report its use to its maker.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ORT_DISABLE_TELEMETRY=1 \
    APP_HOST=0.0.0.0 APP_PORT=8000 APP_MODELS_DIR=/srv/models
WORKDIR /srv
# A number, so that an orchestrator can tell that it is not root.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 CMD ["python", "-c", "\
import http.client, os; \
port = os.environ['APP_PORT']; \
service = http.client.HTTPConnection('127.0.0.1', int(port) if port.isdigit() else 8000, timeout=2); \
service.request('GET', '/health/ready'); \
exit(service.getresponse().status != 200)"]
# In exec form the server is process 1 and gets SIGTERM itself.
ENTRYPOINT ["python", "-m", "app"]
# Last, for they change with every commit.
ARG VERSION=unknown
ARG REVISION=unknown
ARG BASE
LABEL org.opencontainers.image.title="sequences-to-service" \
      org.opencontainers.image.description="Encoder-decoder LSTMs, exact by proof, behind a hardened REST endpoint" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
