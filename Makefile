# On a fresh machine: `make book`, `make test`, `make lab`. Everything else is `fsplit`.
# PIP_ARGS reaches pip: README.md says how to ask for PyTorch's CPU build with it.
FITS := import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))
PYTHON ?= $(firstword $(foreach p,python3.12 python3.11 python3 python,$(shell $(p) -c '$(FITS)' 2>/dev/null && echo $(p))))
PIP_ARGS ?=
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: book test lab bench proof clean
book: $(STAMP)
	$(VENV)/bin/fsplit book

test: $(STAMP)
	$(VENV)/bin/fsplit test

lab: $(STAMP)
	$(VENV)/bin/fsplit lab

bench: $(STAMP)
	$(VENV)/bin/python -m pytest -s tests/bench_coding.py tests/bench_slider.py

proof: $(STAMP)
	$(VENV)/bin/python -m pytest -s tests/proof_device.py tests/proof_processor.py tests/proof_offload.py tests/proof_book.py

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(FITS)' || \
		{ echo "This workbook needs Python 3.11 or 3.12; call make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --upgrade pip
	$(VENV)/bin/python -m pip install $(PIP_ARGS) --constraint constraints.txt --editable '.[book,test]'
	touch $@

clean:
	rm -rf build $(VENV)
