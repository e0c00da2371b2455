# SPDX-License-Identifier: MIT
# RAISE: learns which instructions to fine-tune on. `make help` lists the targets.

CC ?= cc
CXX ?= c++
NVCC ?= $(or $(shell command -v nvcc),/usr/local/cuda/bin/nvcc)
CFLAGS ?= -O3 -g
LDFLAGS ?=
PREFIX ?= /usr/local
DESTDIR ?=
PYTHON ?= python3
B ?= build
JOBS ?= $(shell nproc)
V ?= 0
Q = $(if $(filter 1,$V),,@)
SAY = @$(if $(findstring s,$(firstword -$(MAKEFLAGS)))$(filter 1,$V),:,echo)

WARN = -Wall -Wextra -Wpedantic -Wshadow -Wundef -Wvla -Wcast-qual -Wwrite-strings -Wformat=2 \
  -Wstrict-prototypes -Wmissing-prototypes -Wdouble-promotion -Wswitch-enum $(WERROR)
BLAS_DIR ?= /usr/lib/$(shell $(CC) -print-multiarch 2>/dev/null)/openblas-openmp
# OpenBLAS has LAPACK in it: -llapack could bring in a second BLAS, with threads of its own.
BLAS_LIBS = $(if $(wildcard $(BLAS_DIR)/libopenblas.so),-L$(BLAS_DIR) -Wl$(comma)-rpath$(comma)$(BLAS_DIR)) -lopenblas
comma = ,
HAVE_DNNL ?= $(if $(wildcard /usr/include/dnnl.h /usr/include/oneapi/dnnl/dnnl.h),1,0)
HAVE_FAISS_C ?= $(if $(shell for x in so a; do $(CC) -print-file-name=libfaiss_c.$$x; done 2>/dev/null | grep /),1,0)

CPPFLAGS += -Icommon -D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE -DRAISE_HAVE_DNNL=$(HAVE_DNNL)
ALL_CFLAGS = -std=c17 $(WARN) -fopenmp -fPIC -fno-math-errno $(CFLAGS)
ALL_CXXFLAGS = -std=c++17 -Wall -Wextra -fopenmp -fPIC $(CFLAGS)
# Programs that multiply no matrices do not load what multiplies them.
LIBS = -Wl,--as-needed $(if $(filter 1,$(HAVE_FAISS_C)),-lfaiss_c) -lfaiss $(BLAS_LIBS) \
  $(if $(filter 1,$(HAVE_DNNL)),-ldnnl) -lzstd -lz -llzma -lcsv -ljansson -lpcre2-8 -lutf8proc -lxxhash \
  -ldl -lstdc++ -lm

# lm/cpu is compiled once for each instruction set, and once more with bfloat16 activations (which
# oneDNN multiplies); chosen at run time (see lm/cpu_dispatch.c).
ISAS = base $(if $(filter x86_64%,$(shell $(CC) -dumpmachine 2>/dev/null)),avx2 avx512 $(if $(filter 1,$(HAVE_DNNL)),bf16))
ISA_base =
ISA_avx2 = -mavx2 -mfma -mf16c
ISA_avx512 = $(ISA_avx2) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512cd -mprefer-vector-width=512
ISA_bf16 = $(ISA_avx512) -mavx512bf16 -DCPU_ACT_BF16=1

CPU_SRC = $(wildcard common/lm/cpu/*.c)
LIB_SRC = $(filter-out $(CPU_SRC),$(wildcard common/*/*.c common/*/*/*.c))
CXX_SRC = $(if $(filter 1,$(HAVE_FAISS_C)),,$(wildcard common/cluster/*.cpp))
OBJ = $(LIB_SRC:%.c=$B/%.o) $(CXX_SRC:%.cpp=$B/%.o) \
  $(foreach i,$(ISAS),$(CPU_SRC:common/%.c=$B/common/%.$i.o))
DEMO_TOOLS = $B/demo-generate $B/demo-blank
PROGRAMS = $(patsubst tools/%.c,$B/%,$(wildcard tools/raise-*.c))
SHARED = $(patsubst %.c,$B/%.o,$(filter-out tools/raise-%,$(wildcard tools/*.c)))
UNITS = $(patsubst tests/unit/%.c,$B/tests/%,$(wildcard tests/unit/test_*.c))
BENCHES = $(patsubst tests/bench/%.c,$B/bench/%,$(wildcard tests/bench/bench_*.c))

.PHONY: all
all: $(PROGRAMS) ## build the programs (CPU)

$B/libraise.a: $(OBJ)
	$Qrm -f $@ && $(AR) rcs $@ $^

# On a machine without them, one line instead of the first header that a compiler misses.
HEADERS = xxhash.h zstd.h zlib.h lzma.h jansson.h csv.h pcre2.h utf8proc.h cblas.h faiss/c_api/error_c.h
$B/has-libraries: Makefile
	@mkdir -p $(@D); bare() { echo "$$1: \`make deps\` installs what is needed" >&2; exit 1; }; \
	$(CC) --version >/dev/null 2>&1 || bare "there is no C compiler ($(CC))"; \
	for h in $(HEADERS); do printf '#if !__has_include(<%s>)\n#error\n#endif\n' $$h | \
	  $(CC) $(CPPFLAGS) -E -xc - >/dev/null 2>&1 || bare "there is no $$h"; done; touch $@

define ISA_RULE
$B/common/lm/cpu/%.$1.o: common/lm/cpu/%.c Makefile | $B/has-libraries
	@mkdir -p $$(@D)
	$$(SAY) "  CC   $$< ($1)"
	$$Q$$(CC) $$(CPPFLAGS) $$(ALL_CFLAGS) $$(ISA_$1) -DCPU_ISA=$1 -MMD -MP -c -o $$@ $$<
endef
$(foreach i,$(ISAS),$(eval $(call ISA_RULE,$i)))
$B/%.o: %.c Makefile | $B/has-libraries
	@mkdir -p $(@D)
	$(SAY) "  CC   $<"
	$Q$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<
$B/%.o: %.cpp Makefile | $B/has-libraries
	@mkdir -p $(@D)
	$(SAY) "  CXX  $<"
	$Q$(CXX) $(CPPFLAGS) $(ALL_CXXFLAGS) -MMD -MP -c -o $@ $<

# What programs share; an archive, so that each takes only what it uses.
$B/tools/libtools.a: $(SHARED)
	$Qrm -f $@ && $(AR) rcs $@ $^
$(PROGRAMS): $B/%: $B/tools/%.o $B/tools/libtools.a $B/libraise.a
	$(SAY) "  LINK $@"
	$Q$(CC) -fopenmp $(LDFLAGS) -o $@ $< $B/tools/libtools.a $B/libraise.a $(LIBS)
$(UNITS): $B/tests/%: $B/tests/unit/%.o $B/libraise.a
	@mkdir -p $(@D)
	$(SAY) "  LINK $@"
	$Q$(CC) -fopenmp $(LDFLAGS) -o $@ $< $B/libraise.a -lcmocka $(LIBS)
$B/tests/bench/%.o: CPPFLAGS += -Itests
$(BENCHES): $B/bench/%: $B/tests/bench/%.o $B/libraise.a
	@mkdir -p $(@D)
	$(SAY) "  LINK $@"
	$Q$(CC) -fopenmp $(LDFLAGS) -o $@ $< $B/libraise.a $(LIBS)
$(DEMO_TOOLS): $B/demo-%: $B/pipelines/demo/%.o $B/libraise.a
	$(SAY) "  LINK $@"
	$Q$(CC) -fopenmp $(LDFLAGS) -o $@ $< $B/libraise.a $(LIBS)
.SECONDARY: $(DEMO_TOOLS:$B/demo-%=$B/pipelines/demo/%.o) $(UNITS:$B/tests/%=$B/tests/unit/%.o) $(PROGRAMS:$B/%=$B/tools/%.o) $(BENCHES:$B/bench/%=$B/tests/bench/%.o)

# Parsers and what they are fed (tests/fuzz): one driver for every compiler, one for libFuzzer.
FUZZ = $B/fuzz
FUZZ_TARGETS = targets text models streams
$(FUZZ): $(patsubst %,$B/tests/fuzz/%.o,$(FUZZ_TARGETS) driver) $B/libraise.a
	$(SAY) "  LINK $@"
	$Q$(CC) -fopenmp $(LDFLAGS) -o $@ $(filter %.o,$^) $B/libraise.a $(LIBS)
$B/libfuzzer: $(patsubst %,$B/tests/fuzz/%.o,$(FUZZ_TARGETS) libfuzzer) $B/libraise.a
	$(SAY) "  LINK $@"
	$Q$(CC) -fopenmp $(LDFLAGS) -fsanitize=fuzzer -o $@ $(filter %.o,$^) $B/libraise.a $(LIBS)

# The CUDA plugin, which the programs load when it is there; and the same kernels run by the CPU,
# for tests.
CUDA_SRC = $(wildcard common/lm/cuda/*.cu)
CUDA_ARCH ?= -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90a,code=sm_90a \
  -gencode=arch=compute_90,code=compute_90
NVCCFLAGS = -std=c++20 -O3 -Icommon -Werror all-warnings -Xcompiler -fPIC,-Wall $(CUDA_ARCH)
$B/%.cu.o: %.cu $(wildcard common/lm/cuda/*.h common/lm/*.h) Makefile
	@mkdir -p $(@D)
	$(SAY) "  NVCC $<"
	$Q$(NVCC) $(NVCCFLAGS) -c -o $@ $<
$B/raise-cuda.so: $(CUDA_SRC:%=$B/%.o)
	$(SAY) "  LINK $@"
	$Q$(NVCC) -shared -o $@ $^ -lcublasLt -Xlinker -rpath=$(dir $(realpath $(NVCC)))../lib64
cuda: $B/raise-cuda.so ## build the plugin for NVIDIA GPUs (needs nvcc)
HOST_PLUGINS = $B/tests/host-cuda.so $B/tests/old-cuda.so $B/tests/stale-cuda.so $B/tests/sim-kernels.so
HOST_CXX = $(CXX) -std=c++20 -O2 -Wall -Wextra -fPIC -DRAISE_CUDA_HOST -Icommon
HOST_SRC = $(CUDA_SRC) common/lm/cuda/host.cpp
$B/tests/host/%.o: % $(wildcard common/lm/cuda/*.h common/lm/*.h) Makefile
	@mkdir -p $(@D)
	$(SAY) "  CXX  $< (host)"
	$Q$(HOST_CXX) -x c++ -c -o $@ $<
$B/tests/host-cuda.so: $(HOST_SRC:%=$B/tests/host/%.o)
	$Q$(CXX) -shared -o $@ $^
$B/tests/sim-kernels.so: $(patsubst %,$B/tests/host/%.o,tests/fixtures/sim_kernels.cu common/lm/cuda/host.cpp)
	$Q$(CXX) -shared -o $@ $^
$B/tests/old-cuda.so $B/tests/stale-cuda.so: tests/fixtures/old_plugin.c
	@mkdir -p $(@D)
	$Q$(CC) -Icommon $(if $(findstring stale,$@),-include base/version.h -DPLUGIN_VERSION=RAISE_VERSION) -shared -fPIC -o $@ $<
$(addprefix $B/tests/test_,ops sim lm_cuda cuda_dispatch generate): | $(HOST_PLUGINS) # which they load

.PHONY: units check sanitize tsan fuzz coverage torture check-slurm mutate parity bench bench-models bench-run bench-scale bench-cuda demo deps deps-build deps-deb deps-lint deps-tsan deps-slurm deps-torture example dist deb lint format clean install uninstall cuda help
units: $(UNITS) $(HOST_PLUGINS) $(DEMO_TOOLS) $(FUZZ) $(BENCHES)
check: ## run every test, under five minutes (TESTS=pattern); `make deps` installs what they need
	$Q$(MAKE) -j$(JOBS) --no-print-directory all units
	$Qtests/run -j $(JOBS) $B $(TESTS)

# Everything again under a sanitizer, in a build folder of its own. tests/scripts/blas.sh preloads a
# library, which address sanitizer's runtime takes for a mistake unless it is told; and a test asks
# for more memory than there is.
ASAN = -fsanitize=address,undefined -fno-sanitize-recover=undefined
sanitize: ## every test under the address and undefined behaviour sanitizers (TESTS=pattern)
	$Q$(MAKE) -j$(JOBS) --no-print-directory B=$B/sanitize CFLAGS='-O1 -g -fno-omit-frame-pointer $(ASAN)' \
	  LDFLAGS='$(ASAN)' all units
	$QASAN_OPTIONS=verify_asan_link_order=0:allocator_may_return_null=1 RAISE_LDFLAGS='$(ASAN)' tests/run $B/sanitize $(TESTS)
tsan: ## the threaded parts under clang's thread sanitizer, with LLVM's OpenMP
	$Qtests/tsan $B/tsan $(TESTS)
fuzz: ## clang's libFuzzer on every parser: SECONDS= for each, TARGETS=, findings in build/fuzzing
	$Q$(MAKE) -j$(JOBS) --no-print-directory B=$B/fuzzing CC=clang CXX=clang++ LDFLAGS='$(ASAN)' \
	  CFLAGS='-O1 -g -fno-omit-frame-pointer $(ASAN) -fsanitize=fuzzer-no-link' $B/fuzzing/libfuzzer
	$Qtests/fuzz/run $B/fuzzing $(or $(SECONDS),60) $(TARGETS)
coverage: ## lines and functions that the tests reach, by gcov: build/coverage/*.txt (TESTS=pattern)
	$Q$(MAKE) -j$(JOBS) --no-print-directory B=$B/coverage CFLAGS='-O0 -g --coverage' LDFLAGS=--coverage all units
	$Qtests/run $B/coverage $(TESTS); tests/coverage $B/coverage
torture: ## faults, one a row: kills at random moments, full disks, limits, damaged files; RUNS=10 KILLS=30
	$Q$(MAKE) -j$(JOBS) --no-print-directory all $(FUZZ)
	$Qtests/torture $B $(RUNS) $(KILLS)
check-slurm: ## a pipeline on a cluster that is brought up here for it, a node of which is lost (make deps-slurm)
	$Q$(MAKE) -j$(JOBS) --no-print-directory all $(DEMO_TOOLS)
	$Qtests/slurm $B || [ $$? = 77 ]
mutate: ## break the code in many small places: do the tests notice? (ROWS=text of a row)
	$Qtests/mutate -j $(JOBS) $(ROWS)
parity: $(PROGRAMS) $B/tests/test_lm_fixtures $B/tests/test_gguf ## compare with transformers, peft, gguf, tokenizers: DATA=, GGUF=, TOKENIZERS=
	$Qtests/parity/run $B
bench: ## speed beside PyTorch, tokenizers, FAISS and zstd: a quarter of an hour (ROWS=pattern)
	$Q$(MAKE) -j$(JOBS) --no-print-directory $(BENCHES)
	$Qtests/bench/run $B '$(ROWS)'
bench-models: ## models of published shapes, random weights: memory beside the plan; 16 GB of disk (RAISE_SCRATCH=)
	$Q$(MAKE) -j$(JOBS) --no-print-directory $B/bench/bench_model
	$Qtests/bench/run $B model-
bench-run: ## a whole selection in units of full training, beside PyTorch: hours (RAISE_VAL=, RAISE_TEST=, RAISE_LIMIT=)
	$Q$(MAKE) -j$(JOBS) --no-print-directory all $(BENCHES)
	$Qtests/bench/run $B run-
bench-scale: ## what follows raise-embed at 100,000 and a million rows (RAISE_SIZES='100k 1m 10m')
	$Q$(MAKE) -j$(JOBS) --no-print-directory all $(BENCHES)
	$Qtests/bench/run $B scale-
bench-cuda: ## every check and timing that needs a GPU, beside PyTorch, under ten minutes
	$Q$(MAKE) -j$(JOBS) --no-print-directory all units cuda $B/bench/bench_cuda $B/demo-generate
	$Qtests/bench/bench-cuda $B
demo: deps-build ## install what is missing, build, run the whole loop on shipped data: two minutes
	$Q$(MAKE) -j$(JOBS) --no-print-directory all $(DEMO_TOOLS)
	$Q$(MAKE) --no-print-directory -f pipelines/demo.mk BUILD=$B

DEPS = gcc g++ make zstd libzstd-dev zlib1g-dev liblzma-dev libfaiss-dev libopenblas-openmp-dev liblapack-dev libdnnl-dev \
  libcsv-dev libjansson-dev libpcre2-dev libutf8proc-dev libxxhash-dev
TEST_DEPS = libcmocka-dev mandoc groff-base python3 xz-utils
LINT_DEPS = clang-format cppcheck shellcheck mandoc
DEB_DEPS = dpkg-dev debhelper lintian
TSAN_DEPS = clang libomp-dev
SLURM_DEPS = slurm-wlm munge
TORTURE_DEPS = btrfs-progs faketime python3
define install_debs
	$Qcommand -v dpkg >/dev/null || { echo "not Debian: needs $1"; exit 0; }; \
	missing=$$(for p in $1; do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	[ -z "$$missing" ] || { sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; echo "installing" $$missing; \
	  $$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	  --no-install-recommends $$missing >/dev/null; }
endef
deps: ## install the Debian packages that are missing, for the build and the tests (root, or sudo)
	$(call install_debs,$(DEPS) $(TEST_DEPS))
deps-build: ## only those that the build takes
	$(call install_debs,$(DEPS))
deps-deb: ## the same for make deb
	$(call install_debs,$(DEPS) $(DEB_DEPS))
deps-lint: ## the same for make lint
	$(call install_debs,$(LINT_DEPS))
deps-tsan: ## the same for make tsan
	$(call install_debs,$(TSAN_DEPS))
deps-slurm: ## the same for make check-slurm
	$(call install_debs,$(SLURM_DEPS))
deps-torture: ## the same for make torture (a quota, a clock that jumps; they are skipped without)
	$(call install_debs,$(TORTURE_DEPS))

# What goes where below PREFIX, as mode:file:target; tools/package/install.sh keeps account of it.
# Where shells look for completions (Debian's own packages have zsh's in share/zsh/vendor-completions).
BASH_DIR = share/bash-completion/completions
ZSH_DIR = share/zsh/site-functions
FISH_DIR = share/fish/vendor_completions.d
SHELLS = bash/$1 zsh/_$1 fish/$1.fish
define COMPLETION_RULES
$(patsubst %,$B/completions/%,$(call SHELLS,$1)): $B/completions/%: $B/$1
	@mkdir -p $$(@D) && $$< --completions $$(firstword $$(subst /, ,$$*)) >$$@.tmp && mv $$@.tmp $$@
endef
NAMES = $(PROGRAMS:$B/%=%)
$(foreach p,$(NAMES),$(eval $(call COMPLETION_RULES,$p)))
COMPLETIONS = $(foreach p,$(NAMES),$(call SHELLS,$p))
INSTALLED = $(foreach p,$(NAMES),755:$B/$p:bin/$p) 755:$B/demo-generate:lib/raise/demo-generate \
  $(foreach f,$(wildcard $B/raise-cuda.so),755:$f:lib/raise/raise-cuda.so) \
  $(foreach f,$(wildcard pipelines/*.* pipelines/demo/demo.tmpl pipelines/demo/model/*),$(if $(filter %.sh,$f),755,644):$f:share/raise/$f) \
  $(foreach f,$(wildcard man/*.[157]),644:$f:share/man/man$(subst .,,$(suffix $f))/$(notdir $f)) \
  $(foreach p,$(NAMES),644:$B/completions/bash/$p:$(BASH_DIR)/$p 644:$B/completions/zsh/_$p:$(ZSH_DIR)/_$p \
  644:$B/completions/fish/$p.fish:$(FISH_DIR)/$p.fish)
install: all $(DEMO_TOOLS) $(COMPLETIONS:%=$B/completions/%) ## install to DESTDIR and PREFIX; the GPU plugin too, if it was built
	$Qtools/package/install.sh install '$(DESTDIR)' '$(PREFIX)' $(INSTALLED)
uninstall: ## remove what install put there, and the folders that it made
	$Qtools/package/install.sh uninstall '$(DESTDIR)' '$(PREFIX)'
example: $B/libraise.a ## build a program of yours on the library: SRC=file.c
	$Q$(CC) $(CPPFLAGS) $(ALL_CFLAGS) $(LDFLAGS) -o $B/$(basename $(notdir $(SRC))) $(SRC) $B/libraise.a $(LIBS)
dist: ## the sources of HEAD as build/raise-VERSION.tar.gz, the same bytes anywhere
	@mkdir -p $B
	$Qv=$$(sed -n 's/^#define RAISE_VERSION "\(.*\)"/\1/p' common/base/version.h); \
	  git archive --format=tar --prefix=raise-$$v/ HEAD >$B/dist.tar && gzip -9n <$B/dist.tar >$B/raise-$$v.tar.gz; \
	  rm -f $B/dist.tar; sha256sum $B/raise-$$v.tar.gz
deb: ## build/raise_VERSION_ARCH.deb, a Debian package of the tree as it is (make deps-deb)
	$Qtools/package/deb.sh $B
lint: ## formatting, static analysis, shell scripts, man pages, floors of common/
	$Qtests/lint
format: ## clang-format every source file
	clang-format -i $$(git ls-files '*.c' '*.h')
clean: ## remove the build folder
	rm -rf $B
help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 12

-include $(wildcard $B/tests/fuzz/*.d) $(OBJ:.o=.d) $(SHARED:.o=.d) $(PROGRAMS:$B/%=$B/tools/%.d) $(UNITS:$B/tests/%=$B/tests/unit/%.d) \
  $(BENCHES:$B/bench/%=$B/tests/bench/%.d) $(DEMO_TOOLS:$B/demo-%=$B/pipelines/demo/%.d)
