# Two images: `agent`, the default, which holds no torch, and `diffusers`, the bundled
# runtime, chosen with `docker build --target diffusers`.
#
# The base is named by its tag, which moves. To build upon the same bytes again, give the digest
# that `docker buildx imagetools inspect python:3.11-slim` tells:
# `--build-arg PYTHON_IMAGE=python:3.11-slim@sha256:…`.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1
# A name for the user, because libraries ask for the name and the home of who they run as.
RUN groupadd --gid 65532 agent \
    && useradd --no-log-init --uid 65532 --gid 65532 --create-home agent

# pip takes files with the hashes in requirements/ and no others, and runs no foreign build but one.
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv --without-pip /opt/venv

# Dependencies only: a change of the code leaves these layers as they are.
FROM build AS agent-dependencies
COPY requirements/agent.txt ./
# nkeys, of NATS, is published as source alone: known bytes, too, but setuptools builds them.
RUN pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: --no-binary nkeys \
    -r agent.txt

FROM build AS diffusers-dependencies
COPY requirements/diffusers.txt ./
RUN pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: -r diffusers.txt

FROM build AS project
COPY requirements/build.txt ./
RUN pip install --require-hashes --only-binary :all: -r build.txt
COPY pyproject.toml README.md LICENSE ./
COPY queue_agent queue_agent
COPY runtimes runtimes
RUN python -m hatchling build --target wheel --directory /dist \
    && pip --python /opt/venv/bin/python install --no-deps --no-index /dist/*.whl

FROM base AS diffusers
# Models from a hub are kept here; mount a volume to keep them longer than the container.
ENV HF_HOME=/models
RUN install --directory --owner=65532 --group=65532 /models
COPY --from=diffusers-dependencies /opt/venv /opt/venv
COPY --from=project /opt/venv /opt/venv
USER 65532:65532
ENTRYPOINT ["queue-agent"]
CMD ["serve-diffusers"]

FROM base AS agent
COPY --from=agent-dependencies /opt/venv /opt/venv
COPY --from=project /opt/venv /opt/venv
USER 65532:65532
ENTRYPOINT ["queue-agent"]
CMD ["run"]
