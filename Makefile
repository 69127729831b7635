# make demo: train a language model for three minutes and let it write.
# make test: everything that must hold, in an environment of its own.
# make test-all: before a release. Also every test of the kernels for each compiler and kind of
#   processor that is at hand, every option of every cell, and whole trainings; it takes hours.
# make docs: the documentation site, into site/; a warning is an error.
# make pictures: the pictures of the documentation, in ten minutes; needs Chromium.

PYTHON ?= python3
DEMO := .venv
TEST := .venv-test
# The sources of the package do not count: both environments see them as they are.
STAMP := pyproject.toml constraints.txt

# The tests start many processes, which read the modules that Python compiled for the first one.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-all docs pictures clean

demo: $(DEMO)/.installed
	rm -rf runs/demo
	$(DEMO)/bin/throughtime train char-lm --max_time 3 --run runs/demo
	@echo
	$(DEMO)/bin/throughtime generate runs/demo --prime "def " --length 600 --temperature 0.7 --seed 1

test: $(TEST)/.installed
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/ruff check .
# The types are checked beside the first tests.
	$(TEST)/bin/pyright --pythonpath $(TEST)/bin/python & types=$$!; \
		$(TEST)/bin/python -m pytest -n 2 --dist worksteal && wait $$types

test-all: test
	$(TEST)/bin/python -m pytest -n 2 -m 'slow and not gpu'

docs: $(TEST)/.installed
	NO_MKDOCS_2_WARNING=1 $(TEST)/bin/python -m mkdocs build --strict

pictures: $(TEST)/.installed
	$(TEST)/bin/python docs/making/pictures.py

clean:
	rm -rf $(DEMO) $(TEST) runs/demo site

$(DEMO)/.installed: $(STAMP)
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --no-compile -c constraints.txt -e .
	touch $@

$(TEST)/.installed: $(STAMP)
	$(PYTHON) -m venv $(TEST)
	$(TEST)/bin/python -m pip install --quiet --no-compile -c constraints.txt -e '.[all,test,docs]'
	touch $@
