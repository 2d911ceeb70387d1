# Builds the layers. `sam build` passes no template parameter to a Makefile, but resolves a layer's metadata: ContextPath
# names the folder in targets/ whose Makefile sets the build target and includes this one from the working folder, which
# is a copy of layers/.

# An interpreter of the target's version, of this machine's processor, compiles for any processor. A shim of pyenv
# runs only for a version that pyenv is asked for.
FIND        := uv python find --no-project --no-python-downloads
INTERPRETER ?= $(shell $(FIND) $(PYTHON) 2>/dev/null || PYENV_VERSION=$(PYTHON) $(FIND) $(PYTHON) 2>/dev/null)
TARGET      := $(if $(PLATFORM),--python-version $(PYTHON) --python-platform $(PLATFORM),--python $(INTERPRETER))

define install
uv pip install --quiet --no-deps --require-hashes --only-binary :all: $(TARGET) \
  --target "$$ARTIFACTS_DIR/python" --requirement $(1)/requirements.txt
endef

# Lambda cannot write into a layer, so every cold start compiles whatever is not compiled here. The bytecode is not
# validated against the sources' timestamps, which zip and Lambda change.
ifeq ($(INTERPRETER),)
define compile
@echo "$@ is not compiled, so cold starts take longer: this machine has no Python $(PYTHON). Install it and build again, or see docs/aws.md, Deploy."
endef
else
define compile
"$(INTERPRETER)" -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$$ARTIFACTS_DIR" -p /opt "$$ARTIFACTS_DIR/python"
endef
endif

# Parts of libraries that no function imports: a third of the layer, and its cold start unpacks all of it.
POWERTOOLS_UNUSED := event_handler $(addprefix utilities/,auth_alpha batch circuit_breaker data_classes data_masking \
  feature_flags idempotency kafka metadata parser streaming validation)
UNUSED := pydantic/v1 $(addprefix aws_lambda_powertools/,$(POWERTOOLS_UNUSED))

build-CoreLayer:
	$(call install,core)
	cd "$$ARTIFACTS_DIR/python" && rm -r $(UNUSED)
	cp -r core/giftcards "$$ARTIFACTS_DIR/python/"
	cd core && python3 -m giftcards.presentation.engine "$$ARTIFACTS_DIR/python/giftcards/presentation/compiled"
	find "$$ARTIFACTS_DIR/python" -name __pycache__ -type d -prune -exec rm -r {} +
	$(compile)

build-EncryptionLayer:
	$(call install,encryption)
	$(compile)

build-PageLayer:
	$(call install,page)
	$(compile)
