# Two images: `agent`, the default, which holds no torch, and `diffusers`, the bundled
# runtime, chosen with `docker build --target diffusers`.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1
# A name for the user, because libraries ask for the name and the home of who they run as.
RUN groupadd --gid 65532 agent \
    && useradd --no-log-init --uid 65532 --gid 65532 --create-home agent

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv --without-pip /opt/venv
COPY pyproject.toml constraints.txt README.md LICENSE ./

# Dependencies only, against empty packages: a change of the code leaves these layers as they are.
FROM build AS agent-dependencies
RUN for package in queue_agent runtimes/queue_agent_diffusers runtimes/queue_agent_runtimes; do \
    mkdir -p "$package" && touch "$package/__init__.py"; done \
    && pip --python /opt/venv/bin/python install --constraint constraints.txt '.[gateway,telemetry]' \
    && pip --python /opt/venv/bin/python uninstall --yes sd-queue-agent

FROM build AS diffusers-dependencies
RUN for package in queue_agent runtimes/queue_agent_diffusers runtimes/queue_agent_runtimes; do \
    mkdir -p "$package" && touch "$package/__init__.py"; done \
    && pip --python /opt/venv/bin/python install --constraint constraints.txt '.[diffusers,telemetry]' \
    && pip --python /opt/venv/bin/python uninstall --yes sd-queue-agent

FROM build AS project
COPY queue_agent queue_agent
COPY runtimes runtimes
RUN pip --python /opt/venv/bin/python install --no-deps .

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
