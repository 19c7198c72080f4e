# Needs make and Python 3.11 to 3.13, no more. Environments are made from the pinned files in requirements/,
# when first needed, and anew only when their file says something else.
IS_SUITABLE := -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p $(IS_SUITABLE) && echo $$p && break; done)
HOST = $(or $(APP_HOST),127.0.0.1)
PORT = $(or $(APP_PORT),8000)
IMAGE ?= sequences-to-service
SERVING := .venv/requirements.txt
DEV := .venv-dev/requirements.txt
RAY := .venv-ray/requirements.txt
COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make requirements"
# A file of tests stays in one process, so that what it starts is started once.
AT_ONCE := --numprocesses auto --maxprocesses 4 --dist loadfile
PEERS := $(basename $(notdir $(wildcard benchmarks/requirements/*.in)))

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve serve-ray test test-fast test-reliability lint format verify train train-pairs study requirements image sbom test-image clean
.PHONY: bench bench-serving bench-startup bench-training bench-cost bench-fitting bench-neighbours bench-pronunciation

help:  ## list the targets
	@echo "make TARGET [ARGS=...]      ARGS is passed on to the command that the target runs"
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22

serve: $(SERVING)  ## serve the models on 127.0.0.1:8000; HOST= and PORT= change that
	@APP_HOST=$(HOST) APP_PORT=$(PORT) exec .venv/bin/python -m app $(ARGS)

test: $(DEV)  ## all tests but those of the container and of reliability
	@exec .venv-dev/bin/python -m pytest -m "not image and not reliability" $(AT_ONCE) $(ARGS)

test-fast: $(DEV)  ## the tests that need no TensorFlow
	@exec .venv-dev/bin/python -m pytest -m "not image and not reliability and not training" $(AT_ONCE) $(ARGS)

test-reliability: $(DEV) $(RAY)  ## stops, kills, overload and soak under load, for half an hour; SOAK_S= for another soak than 600 s
	@exec .venv-dev/bin/python -m pytest -m reliability $(ARGS)

lint: $(DEV)  ## style, types, whether requirements/ is up to date, and known vulnerabilities
	@.venv-dev/bin/ruff check .
	@.venv-dev/bin/ruff format --check .
	@.venv-dev/bin/mypy
	@scripts/check-requirements
	@scripts/audit

format: $(DEV)  ## put the code in the house's style
	@.venv-dev/bin/ruff check --fix .
	@.venv-dev/bin/ruff format .

verify: $(SERVING)  ## prove every model anew, but what only a file of pairs can show; ARGS=--json for a line of JSON each
	@exec .venv/bin/python -m training verify models/*/* $(ARGS)

train: FITTED = $(or $(RECIPE),addition reversal)
train: $(DEV)  ## fit the next version of both models, or of RECIPE=; ARGS= goes to `python -m training fit`
	@$(if $(and $(word 2,$(FITTED)),$(findstring --o,$(ARGS))),echo "make: --out is for one recipe; name it by RECIPE=" >&2; exit 2)
	@for recipe in $(FITTED); do \
		.venv-dev/bin/python -m training fit $$recipe $(ARGS) || exit; done

train-pairs: $(DEV)  ## fit the next version of models/NAME= to the pairs in FILE=; ARGS= goes to `python -m training fit-pairs`
	@$(if $(and $(FILE),$(NAME)),,echo "make: train-pairs needs FILE= and NAME=" >&2; exit 2)
	@exec .venv-dev/bin/python -m training fit-pairs "$(FILE)" --name "$(NAME)" $(ARGS)

study: $(DEV)  ## train a grid of small networks and draw what became exact, under runs/study; ARGS="--cells quick" for seconds
	@exec .venv-dev/bin/python -m training study $(ARGS)

requirements: $(DEV)  ## compile the pinned requirements; ARGS=--upgrade for newer releases
	@PATH="$(CURDIR)/.venv-dev/bin:$$PATH" $(MAKE) compile

serve-ray: $(RAY)  ## serve on Ray Serve; ARGS="max_replicas=8" for what deploy/ray_serve.py can be told
	@PATH="$(CURDIR)/.venv-ray/bin:$$PATH" RAY_USAGE_STATS_ENABLED=0 exec serve run deploy.ray_serve:build $(ARGS)

image:  ## build the container image with docker or buildah; BUILD_ARGS= goes to the build
	@scripts/build-image $(IMAGE) --target serve $(BUILD_ARGS)

sbom: $(SERVING) $(DEV)  ## list what serving installs in build/sbom.cdx.json, as CycloneDX has it
	@scripts/sbom .venv/bin/python build/sbom.cdx.json

test-image: image $(DEV)  ## build the image, then run it and its tests
	@IMAGE=$(IMAGE) exec .venv-dev/bin/python -m pytest -m image $(ARGS)

bench: bench-serving bench-startup bench-training bench-cost bench-fitting bench-neighbours bench-pronunciation  ## all benchmarks; figures go to runs/bench/; ARGS=--quick for less

bench-serving: $(SERVING) $(DEV)  ## requests a second against floor, peers and tutorials; ARGS="--json FILE --quick"
	@exec .venv-dev/bin/python -m benchmarks serving $(ARGS)

bench-startup: $(SERVING) $(DEV)  ## time to the first answer, memory, size on disk
	@exec .venv-dev/bin/python -m benchmarks startup $(ARGS)

bench-training: $(DEV)  ## the tutorials' recipes as given against ours
	@exec .venv-dev/bin/python -m benchmarks training $(ARGS)

bench-cost: $(DEV)  ## a request part by part, and a network's cost by its size
	@exec .venv-dev/bin/python -m benchmarks cost $(ARGS)

bench-fitting: $(DEV)  ## words a second in training on pairs: ours, Keras's own layers, PyTorch (which is 5 GB)
	@exec .venv-dev/bin/python -m benchmarks fitting $(ARGS)

bench-neighbours: $(SERVING) $(DEV)  ## words a second of pronunciation, and what it costs /add and /health/live beside it
	@exec .venv-dev/bin/python -m benchmarks neighbours $(ARGS)

bench-pronunciation: $(DEV)  ## errors and speed of others on the test words of examples/pronunciation
	@exec .venv-dev/bin/python -m benchmarks pronunciation $(ARGS)

clean:  ## remove the environments and all that tools have cached
	@rm -rf .venv .venv-dev .venv-ray .venv-bench .*_cache .hypothesis build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Runs with any uv, and in any folder that has a pyproject.toml, so that check-requirements can use it.
.PHONY: compile
compile:
	@$(COMPILE) pyproject.toml $(ARGS) --quiet -o requirements/serving.txt
	@$(COMPILE) pyproject.toml $(ARGS) --quiet --extra training -c requirements/serving.txt -o requirements/training.txt
	@$(COMPILE) pyproject.toml $(ARGS) --quiet --extra training --extra tracing --group test --group examples --group lint \
		--group sbom -c requirements/training.txt -o requirements/dev.txt
	@$(COMPILE) pyproject.toml $(ARGS) --quiet --extra tracing -c requirements/dev.txt -o requirements/tracing.txt
	@$(COMPILE) --group sbom $(ARGS) --quiet -c requirements/dev.txt -o requirements/sbom.txt
	@$(COMPILE) pyproject.toml deploy/requirements/ray.in $(ARGS) --quiet -c requirements/serving.txt \
		-o deploy/requirements/ray.txt
	@for peer in $(PEERS); do \
		$(COMPILE) benchmarks/requirements/$$peer.in $(ARGS) --quiet -o benchmarks/requirements/$$peer.txt || exit; done

# An environment holds a copy of the file that it was made from. Whatever is said here goes to stderr: stdout is
# the command's own.
$(SERVING): requirements/serving.txt
$(DEV): requirements/dev.txt
$(RAY): deploy/requirements/ray.txt
$(SERVING) $(DEV) $(RAY):
	@if cmp -s $< $@; then touch $@; else $(make_environment); fi >&2

define make_environment
	$(or $(PYTHON),false) $(IS_SUITABLE) \
		|| { echo "make: needs Python 3.11, 3.12 or 3.13; PYTHON= may name one"; exit 1; }; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "make: $(PYTHON) lacks ensurepip; install its venv package (python3-venv on Debian)"; exit 1; }; \
	echo "making $(@D) from $<"; \
	$(PYTHON) -m venv --clear $(@D) \
		&& $(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $< \
		&& cp $< $@
endef
