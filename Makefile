# SPDX-License-Identifier: BSD-3-Clause
# Short names for what people do; Meson and Ninja do the work. `make help` lists them.

BUILD   := build
PYTHON  := PYTHONDONTWRITEBYTECODE=1 python3
JSON    ?=
BENCH_ARGS ?=

all: needs-nothing $(BUILD)/build.ninja
	@ninja -C $(BUILD)

# Meson regenerates by itself when its files change.
$(BUILD)/build.ninja:
	@CC=gcc meson setup $(BUILD)

needs-nothing:
	@lacking=$$(scripts/setup check) || { \
	    echo "make: these Debian packages are missing: $$lacking" >&2; \
	    echo "      'scripts/setup build' installs them (as root, or through sudo)" >&2; \
	    exit 1; }

demo:
	@scripts/setup demo
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tests/e2e/demo.py $(if $(JSON),--json "$(JSON)")

demo-chassis:
	@scripts/setup dpdk
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tests/e2e/demo_chassis.py $(if $(JSON),--json "$(JSON)")

# All of chassis mode on two kernels: this Debian's and the next one's.
test-chassis:
	@scripts/setup chassis
	@scripts/setup dpdk
	@$(MAKE) --no-print-directory all
	@failed=0; \
	$(PYTHON) tests/e2e/demo_chassis.py --all $(if $(JSON),--json "$(JSON)") || failed=1; \
	$(PYTHON) tests/e2e/demo_chassis.py --all --newer-kernel \
	    $(if $(JSON),--json "$(JSON).newer-kernel") || failed=1; \
	exit $$failed

# Of that, VFs that are vfio-pci's, driven by our own driver and by DPDK's testpmd.
test-chassis-vfio:
	@scripts/setup dpdk
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tests/e2e/demo_chassis.py --groups user-space $(if $(JSON),--json "$(JSON)")

# A guest inside the VM that has the card. Emulated twice: minutes, 15 at most.
test-nested:
	@scripts/setup demo
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tests/e2e/nested.py $(if $(JSON),--json "$(JSON)")

test:
	@scripts/setup test
	@$(PYTHON) tests/run.py $(if $(JSON),--json "$(JSON)")

# What a benchmark found is kept, where JSON names no other place.
BENCH_JSON = $(or $(JSON),$(BUILD)/$@.json)

# The headline table of docs/performance.md, in under 10 minutes. Peers that cannot be installed
# are named in the table, and the rest is measured.
bench bench-full:
	@$(MAKE) --no-print-directory all
	@scripts/bench-setup || echo "make: continuing without the peers that are missing" >&2
	@$(BUILD)/vireo-bench dataplane --peers scripts/bench-peer --about "$$(scripts/bench-about)" \
	    $(if $(filter bench-full,$@),--full --rounds 9) --json "$(BENCH_JSON)" $(BENCH_ARGS)
	@echo "Also in $(BENCH_JSON); make bench-doc JSON=$(BENCH_JSON) puts it into docs/performance.md"

# Such a run into docs/performance.md: its tables and pictures.
bench-doc:
	@$(if $(JSON),,echo "make: which run? make bench-doc JSON=FILE" >&2; exit 1)
	@scripts/bench-setup
	@$(PYTHON) scripts/bench-doc "$(JSON)" docs/performance.md
	@$(PYTHON) scripts/bench-plot "$(JSON)" docs

# Two guests of one kind on Vireo's VFs, and on QEMU's virtio-net, igb and e1000e.
bench-vms:
	@scripts/setup demo
	@$(MAKE) --no-print-directory all
	@scripts/bench-setup || echo "make: continuing without the peers that are missing" >&2
	@$(PYTHON) tests/e2e/bench_vms.py --json "$(BENCH_JSON)" $(BENCH_ARGS)
	@echo "Also in $(BENCH_JSON)"

clean:
	@rm -rf build-asan build-fuzz build-tsan
	@if [ -d $(BUILD) ]; then find $(BUILD) -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} +; fi

distclean: clean
	@rm -rf $(BUILD)

help:
	@echo "make                    builds build/vireod, build/vireo and build/vireo-bench"
	@echo "make demo [JSON=FILE]   installs what is missing, builds, and shows two unmodified VMs"
	@echo "                        talking through two VFs; FILE gets the results as JSON"
	@echo "make demo-chassis       shows a stock Linux in one VM as the SR-IOV host, with stock ixgbe,"
	@echo "                        vfio-pci, our own driver and DPDK's (about 5 minutes)"
	@echo "make test-chassis       checks that, and guests and drivers that come and go, on the stock"
	@echo "                        kernels and OVMFs of this Debian and the next (about 15 minutes)"
	@echo "make test-chassis-vfio  of that, VFs in user space: by our driver, by DPDK's testpmd"
	@echo "make test-nested        checks a VM inside that VM, whose VF comes through vfio-pci (slow)"
	@echo "make test [JSON=FILE]   installs what is missing, builds, and runs every test"
	@echo "make bench [JSON=FILE]  installs what it is measured against (DPDK, Open vSwitch), and"
	@echo "                        measures the data plane beside it (about 5 minutes); results also"
	@echo "                        in FILE, or build/bench.json (the next ones alike)"
	@echo "make bench-full         of that, also many VFs, idle cost, guests at constant load, two"
	@echo "                        workers (about 7 minutes; both longer where others use the machine)"
	@echo "make bench-doc JSON=FILE  puts such a run into docs/performance.md, with plots"
	@echo "make bench-vms          compares TCP and ping of two VMs on Vireo with QEMU's virtio-net"
	@echo "                        (vhost-user), igb and e1000e"
	@echo "make clean              removes what was built (the fetched packages stay in build/cache)"
	@echo "make distclean          removes those too"

.PHONY: all needs-nothing demo demo-chassis test test-chassis test-chassis-vfio test-nested bench bench-full bench-doc bench-vms clean distclean help
