# Everything runs in one virtual environment, .venv, which the first target that needs it makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --constraint constraints.txt
CHECKOV := tests/charts/checkov-constraints.txt
TRITON := tests/triton_server/constraints.txt
TRITON_PYTHON ?= /usr/bin/python3
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --constraint constraints.txt \
  --generate-hashes --no-annotate --custom-compile-command 'make hashes'

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo check test test-triton lint style format docs bench bench-diffusers bench-gpu synth images kind-test venv constraints hashes fuzz audit chaos demo-metrics tiny-model screenshots

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

# `exec`, so that a signal to make reaches the demo, which ends its own children.
demo: $(VENV)/.demo$(if $(filter aws,$(CLOUD)),-aws) ## One job from topic to image on this machine (CLOUD=aws, MODEL=, PROMPT=, STEPS=, ARGS=)
	@exec $(BIN)/queue-agent demo $${CLOUD:+"--cloud=$$CLOUD"} $${MODEL:+"--model=$$MODEL"} $${PROMPT:+"--prompt=$$PROMPT"} $${STEPS:+"--steps=$$STEPS"} $(ARGS)

demo-metrics: $(VENV)/.dev ## A real Prometheus scrapes the running demo and answers the dashboard's queries
	@command -v prometheus >/dev/null || { echo "Prometheus is needed; on Debian: apt-get install prometheus" >&2; exit 1; }
	$(BIN)/pytest tests/telemetry/test_prometheus.py -v $(ARGS)

# Needs no network, no root and nothing beside Python; what does is for `make test`.
check: style ## Check style, types and import rules, and run the unit tests: what to run while working
	$(BIN)/pytest tests/unit --numprocesses 2 --dist loadfile -m "not sweep" $(ARGS)

test: lint $(VENV)/.tools $(VENV)/.checkov $(VENV)/.torchserve ## Lint, then run every test (ARGS= goes to pytest)
	$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ARGS)

# CI does not run it: the environment takes 1.5 GB with torch's CPU build.
test-triton: $(VENV)/.dev $(VENV)/.triton ## The adapter and examples/triton on a real Triton on the CPU (Linux; downloads 0.7 GB and more)
	TRITON_HOME=$(CURDIR)/$(VENV)/triton $(BIN)/pytest tests/triton_server $(ARGS)

lint: style audit ## Check style, types, import rules, Dockerfile, shell scripts and known vulnerabilities
	$(BIN)/hadolint Dockerfile
	$(BIN)/shellcheck charts/*/*.sh examples/*.sh

style: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.dev ## Build the documentation's site into site/, every warning an error
	$(BIN)/mkdocs build --strict

fuzz: $(VENV)/.dev ## Try odd messages, answers and requests for minutes (FACTOR= of what tests try, SEED= to repeat)
	@seed=$${SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; echo "make fuzz SEED=$$seed FACTOR=$${FACTOR:-20}"; \
	FUZZ_FACTOR=$${FACTOR:-20} $(BIN)/pytest tests/fuzz tests/gateway/test_schema.py --timeout=0 --hypothesis-seed=$$seed -p no:randomly $(ARGS)

# Out of reach of the advisories nothing is known, and nothing fails.
audit: $(VENV)/.dev ## Look up known vulnerabilities of what constraints.txt names
	@found=$$($(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off 2>&1); \
	case "$$found" in \
	*"No known vulnerabilities"*) echo "pip-audit: none known; not looked up: $$(echo "$$found" | grep -c 'could not be audited') of $$(grep -c == constraints.txt)";; \
	*"known vulnerabilit"*) echo "$$found" >&2; exit 1;; \
	*) echo "pip-audit: the advisories cannot be reached";; esac

bench: $(VENV)/.dev ## Measure what docs/performance.md reports (ARGS= goes to the benchmarks)
	$(BIN)/python -m benchmarks $(ARGS)

bench-diffusers: $(VENV)/.dev ## Measure the bundled runtime beside a plain and a static one (ARGS=--gpu-size=sd15 on a GPU)
	$(BIN)/python -m benchmarks.diffusers_serving $(ARGS)

bench-gpu: $(VENV)/.dev ## The bundled runtime on a GPU in 9 minutes: is it right, how fast (OUT=build/bench-gpu, ARGS=--help)
	$(BIN)/python -m benchmarks.diffusers_serving.gpu $${OUT:-build/bench-gpu} $(ARGS)

chaos: $(VENV)/.dev ## 500 jobs under random faults for five minutes (ARGS="--seed 7" to replay)
	$(BIN)/python -m benchmarks.chaos $(ARGS)

tiny-model: $(VENV)/.dev ## Train the tiny model of the demo anew, about an hour of one CPU (ARGS=--help)
	PYTHONPATH=runtimes $(BIN)/python -m tiny_model $(ARGS)

screenshots: $(VENV)/.dev $(VENV)/.tools ## Take the screenshots of the documents from the running demo
	$(BIN)/python docs/screenshots.py

synth: $(VENV)/.cdk ## Write the CloudFormation templates of every example under cdk/ (CONFIG= of another) to cdk/cdk.out
	@for config in $${CONFIG:-cdk/examples/*.yaml}; do \
	  out=$${OUT:-cdk/cdk.out}/$$(basename "$$config" .yaml) && \
	  CDK_OUTDIR="$$out" CDK_CONTEXT_JSON="{\"config\": \"$$config\"}" $(BIN)/python cdk/app.py && \
	  echo "$$config: $$out" || exit; \
	done

# The chart asks for the tags of its appVersion. The agent runs on GPU nodes and, as the gateway, on
# any; the bundled runtime on GPU nodes. Docker's own builder makes one platform at a time.
IMAGE = $(REGISTRY:%/=%)/sd-queue-agent:$(shell sed -n "s/^appVersion: //p" charts/queue-agent/Chart.yaml)
BUILDER ?= sd-queue-agent
BUILD = docker buildx build --builder $(BUILDER) --push

images: ## Build the images and push them to REGISTRY, for the chart's imageRegistry (`make -n`: only say how)
	$(if $(REGISTRY),@,$(error make images REGISTRY=registry.example.com/images: the registry is missing))docker buildx version >/dev/null 2>&1 || { echo "Docker with buildx is needed to build the images" >&2; exit 1; }
	docker buildx inspect $(BUILDER) >/dev/null 2>&1 || docker buildx create --name $(BUILDER) --driver docker-container
	$(BUILD) --platform linux/amd64,linux/arm64 --target agent --tag $(IMAGE) .
	$(BUILD) --platform linux/amd64 --target diffusers --tag $(IMAGE)-diffusers .

kind-test: ## The quick start without AWS in a cluster of its own, and a killed pod (needs Docker, kind, kubectl, Helm)
	@charts/quickstart/kind-test.sh

venv: $(VENV)/.dev ## Make .venv with everything for development (PYTHON=python3.12 to choose one)

# torch keeps its pin, so that the result does not depend on the builds this machine finds.
constraints: ## Write the newest versions that fit pyproject.toml into constraints.txt, and checkov's; then `hashes`
	tools=$$(mktemp -d) && trap 'rm -rf "$$tools"' EXIT && \
	$(PYTHON) -m venv "$$tools" && \
	grep '^torch==' constraints.txt > "$$tools/torch" && \
	"$$tools/bin/python" -m pip install --constraint "$$tools/torch" --editable '.[cdk,dev]' && \
	{ sed -n '/^#/p' constraints.txt; \
	  "$$tools/bin/python" -m pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu$$//'; } > "$$tools/constraints" && \
	cp "$$tools/constraints" constraints.txt && \
	$(PYTHON) -m venv "$$tools/checkov" && \
	"$$tools/checkov/bin/python" -m pip install checkov && \
	{ sed -n '/^#/p' $(CHECKOV); \
	  "$$tools/checkov/bin/python" -m pip freeze --all --exclude pip; } > "$$tools/constraints" && \
	cp "$$tools/constraints" $(CHECKOV)
	$(MAKE) hashes

# Of the files for every platform and Python; nothing is downloaded but the index's own pages.
hashes: $(VENV)/.dev ## Write the pins of constraints.txt with their files' hashes into requirements/, for images and cdk
	$(COMPILE) --extra gateway --extra nats --extra provenance --extra telemetry --extra video --output-file requirements/agent.txt pyproject.toml
	$(COMPILE) --extra diffusers --extra fastsafetensors --extra fp8 --extra runai --extra telemetry --output-file requirements/diffusers.txt pyproject.toml
	printf "%s\n" hatch-fancy-pypi-readme hatchling | $(COMPILE) --output-file requirements/build.txt -
	echo pydantic | $(COMPILE) --output-file requirements/intake.txt -

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/.created
	$(INSTALL) --editable '.[demo]'
	@touch $@

$(VENV)/.demo-aws: pyproject.toml constraints.txt | $(VENV)/.created
	$(INSTALL) --editable '.[demo-aws]'
	@touch $@ $(VENV)/.demo

# The development extra holds the demo's, on either cloud.
$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.created
	$(INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.demo $(VENV)/.demo-aws

# Synthesis runs on Node.js; without it nothing of the rest is missing.
$(VENV)/.cdk: pyproject.toml constraints.txt | $(VENV)/.created
	@command -v node >/dev/null || { echo "Node.js 22 or newer is needed to synthesise: https://nodejs.org" >&2; exit 1; }
	$(INSTALL) --editable '.[cdk]'
	@touch $@

# The versions that checkov asks for do not fit beside the project's.
$(VENV)/.checkov: $(CHECKOV) | $(VENV)/.created
	$(BIN)/python -m venv $(VENV)/checkov
	$(VENV)/checkov/bin/python -m pip install --quiet --constraint $(CHECKOV) checkov
	@touch $@

# Only a test starts it, unmaintained as it is; what it needs beside stands in the environment.
$(VENV)/.torchserve: Makefile | $(VENV)/.created
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/torchserve torchserve==0.12.0
	@touch $@

# Triton comes as a wheel of Python's index, and needs a Python whose shared library is the system's,
# as Debian's and Ubuntu's is; its Python backend needs the stub for that version beside it.
$(VENV)/.triton: $(TRITON) | $(VENV)/.created
	@[ "$$(uname -sm)" = "Linux x86_64" ] || { echo "Triton's wheel is for Linux on x86-64 only" >&2; exit 1; }
	@command -v $(TRITON_PYTHON) > /dev/null || { echo "There is no $(TRITON_PYTHON); on Debian: apt-get install python3-venv, else make TRITON_PYTHON=…" >&2; exit 1; }
	@$(TRITON_PYTHON) -c 'import ctypes, sys; ctypes.CDLL("libpython%d.%d.so.1.0" % sys.version_info[:2])' 2> /dev/null || \
	  { echo "Triton needs the shared library of $(TRITON_PYTHON) on the system; on Debian: apt-get install libpython3-dev, else make TRITON_PYTHON=…" >&2; exit 1; }
	@$(TRITON_PYTHON) -c 'import ensurepip' 2> /dev/null || { echo "$(TRITON_PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(TRITON_PYTHON) -m venv $(VENV)/triton
	$(VENV)/triton/bin/python -m pip install --quiet --constraint $(TRITON) nvidia-pytriton accelerate diffusers torch transformers
	home=$$(echo $(CURDIR)/$(VENV)/triton/lib/python3.*/site-packages/pytriton/tritonserver) && \
	version=$$($(VENV)/triton/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])') && \
	ln -sf "$$home/python_backend_stubs/$$version/triton_python_backend_stub" "$$home/backends/python/"
	@touch $@

# What some tests use beside Python; where it is not to be had, they are skipped and say so.
$(VENV)/.tools: Makefile | $(VENV)/.created
	@missing=; command -v java > /dev/null || missing=" openjdk-17-jre-headless"; \
	for package in chromium libfaketime nodejs prometheus; do \
	  dpkg -s $$package > /dev/null 2>&1 || missing="$$missing $$package"; done; \
	if [ -z "$$missing" ]; then true; \
	elif command -v apt-get > /dev/null && [ "$$(id -u)" = 0 ]; then \
	  echo "apt-get install$$missing: tests use chromium and nodejs for the gateway's page, libfaketime for clocks that jump, openjdk for TorchServe, prometheus for the metrics"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends $$missing > /dev/null; } || \
	  echo "apt-get failed: tests that need one of these are skipped"; \
	else echo "Installed only by root and with apt-get:$$missing; tests that find no such program are skipped"; fi
	@if command -v npm > /dev/null; then \
	  echo "npm install playwright-core, axe-core and openai into $(VENV)/page: tests use the gateway with them"; \
	  npm install --silent --no-save --prefix $(VENV)/page playwright-core@1.65.1 axe-core@4.14.1 openai@6.49.0; fi || true
	@touch $@
