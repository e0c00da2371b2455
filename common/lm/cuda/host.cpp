/* SPDX-License-Identifier: MIT
 * The simulated device: fibers, the order they run in, and where they meet. See host.h.
 *
 * A fiber runs until it waits or ends, and then goes back to the scheduler. A warp is run until
 * all its fibers wait at a barrier of the block or have ended; when that holds for all warps,
 * the barrier opens. Shared variables are thread_local ones of this library, so its block of
 * thread-local memory, which holds nothing else, is the block's static shared memory. */
#include "lm/cuda/host.h"

#include <link.h>
#include <math.h>
#include <stdio.h>
#include <sys/mman.h>

struct sim_dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace
{
constexpr unsigned MAX_THREADS = 1024, MAX_WARPS = MAX_THREADS / SIM_WARP;
constexpr size_t STACK = 64 << 10, GUARD_PAGE = 4 << 10, GUARD = 64;
constexpr unsigned char POISON = 0xff, GUARD_BYTE = 0xa5;

struct copy {
    char *to;
    const char *from;
    size_t bytes;
    bool is_there;
    int group;
};

enum state { READY, AT_WARP, AT_BLOCK, ENDED };

struct fiber {
    void *sp;
    enum state state;
    const char *place; /* where it waits */
    int line;
    int vote;
    void *arg;
    struct copy copies[SIM_COPIES];
    int n_copies, n_groups;
};

struct warp {
    uint32_t here, mask; /* lanes that wait, of those that shall meet */
    unsigned first;      /* lane that came first */
};

struct {
    const char *kernel;
    sim_body *body;
    void *arg;
    unsigned n_threads, n_warps;
    struct fiber *fibers; /* [MAX_THREADS] */
    char *stacks;
    struct warp warps[MAX_WARPS];
    unsigned current;
    void *scheduler; /* its stack pointer */
    char *dynamic;   /* shared memory, then GUARD bytes */
    size_t dynamic_bytes;
    char *fixed; /* static shared memory */
    size_t fixed_bytes;
    uint64_t rng; /* 0: forward, 1: reverse, else random */
    unsigned lanes[SIM_WARP], warp_order[MAX_WARPS];
} sim;

thread_local char toucher; /* makes this thread's block of thread-local memory exist */

struct fiber *self()
{
    return &sim.fibers[sim.current];
}

[[noreturn]] void die_at(unsigned thread, const char *what)
{
    fprintf(stderr, "simulated device: %s: block %u %u, thread %u: %s\n", sim.kernel,
            blockIdx.x, blockIdx.y, thread, what);
    abort();
}

/* Two threads that should be at one place and are not. */
[[noreturn]] void die_apart(unsigned a, unsigned b)
{
    char what[300];
    const struct fiber *x = &sim.fibers[a], *y = &sim.fibers[b];
    int n = snprintf(what, sizeof what, "waits at %s (line %d), but thread %u ", x->place,
                     x->line, b);
    if (y->state == ENDED)
        snprintf(what + n, sizeof what - (size_t)n, "has ended");
    else
        snprintf(what + n, sizeof what - (size_t)n, "is at %s (line %d)", y->place, y->line);
    die_at(a, what);
}
} // namespace

void sim_die(const char *what)
{
    die_at(sim.current, what);
}

/* ---- switching stacks ---- */

#if defined __x86_64__ && !defined SIM_UCONTEXT
extern "C" void sim_switch(void **save, void *to);
asm(R"(
    .text
    .hidden sim_switch
    .globl sim_switch
    .type sim_switch, @function
sim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size sim_switch, .-sim_switch
)");

static void *stack_begin(char *top, void (*entry)())
{
    void **sp = (void **)(top - 16); /* so that entry finds the stack as a call leaves it */
    *sp = (void *)entry;
    memset(sp - 6, 0, 6 * sizeof *sp);
    return sp - 6;
}
#else
#include <ucontext.h>
static ucontext_t contexts[MAX_THREADS + 1];

static void *stack_begin(char *top, void (*entry)())
{
    size_t i = (size_t)(top - sim.stacks) / (STACK + GUARD_PAGE);
    ucontext_t *c = &contexts[i];
    getcontext(c);
    c->uc_stack.ss_sp = sim.stacks + i * (STACK + GUARD_PAGE) + GUARD_PAGE;
    c->uc_stack.ss_size = (size_t)(top - (char *)c->uc_stack.ss_sp);
    makecontext(c, entry, 0);
    return c;
}

static void sim_switch(void **save, void *to)
{
    ucontext_t *from = save == &sim.scheduler ? &contexts[MAX_THREADS]
                                              : &contexts[(struct fiber *)save - sim.fibers];
    *save = from;
    swapcontext(from, (ucontext_t *)to);
}
#endif

static void yield()
{
    sim_switch(&self()->sp, sim.scheduler);
}

static void fiber_main()
{
    sim.body(sim.arg);
    self()->state = ENDED;
    yield();
    abort(); /* an ended fiber is not run */
}

/* Each stack starts at another place of its pages, or all would share a few lines of cache. */
static char *stack_top(unsigned i)
{
    size_t size = STACK + GUARD_PAGE;
    return sim.stacks + (i + 1) * size - i % 32 * 192 - 64;
}

static void stacks_open()
{
    size_t size = STACK + GUARD_PAGE;
    sim.fibers = (struct fiber *)calloc(MAX_THREADS, sizeof *sim.fibers);
    sim.dynamic = (char *)aligned_alloc(1024, SIM_SHARED_MAX + 1024);
    void *p = mmap(NULL, MAX_THREADS * size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!sim.fibers || !sim.dynamic || p == MAP_FAILED)
        abort();
    sim.stacks = (char *)p;
    for (size_t i = 0; i < MAX_THREADS; i++)
        if (mprotect(sim.stacks + i * size, GUARD_PAGE, PROT_NONE) != 0)
            abort();
}

/* ---- shared memory ---- */

static int find_fixed(struct dl_phdr_info *info, size_t, void *)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        char *start = (char *)info->dlpi_tls_data;
        if (p->p_type == PT_TLS && start && &toucher >= start &&
            &toucher < start + p->p_memsz) {
            sim.fixed = start;
            sim.fixed_bytes = p->p_memsz;
            return 1;
        }
    }
    return 0;
}

static void shared_begin()
{
    memset(sim.fixed, POISON, sim.fixed_bytes);
    memset(sim.dynamic, POISON, sim.dynamic_bytes);
    memset(sim.dynamic + sim.dynamic_bytes, GUARD_BYTE, GUARD);
}

static void shared_end()
{
    for (size_t i = 0; i < GUARD; i++)
        if ((unsigned char)sim.dynamic[sim.dynamic_bytes + i] != GUARD_BYTE)
            die_at(0, "wrote beyond the dynamic shared memory");
}

static bool lies_in(const char *p, size_t bytes, const char *start, size_t size)
{
    return p >= start && p + bytes <= start + size;
}

void sim_check_shared(const void *p, size_t bytes, const char *name)
{
    char what[100];
    const char *c = (const char *)p;
    bool is_inside = lies_in(c, bytes, sim.dynamic, sim.dynamic_bytes) ||
                     lies_in(c, bytes, sim.fixed, sim.fixed_bytes);
    if (is_inside && (uintptr_t)p % bytes == 0)
        return;
    snprintf(what, sizeof what, "%s: address %s", name,
             is_inside ? "not aligned" : "outside shared memory");
    sim_die(what);
}

char *sim_dynamic_shared(void)
{
    return sim.dynamic;
}

/* ---- the order ---- */

static uint64_t random_next()
{
    uint64_t z = sim.rng += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void order_fill(unsigned *order, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        order[i] = sim.rng == 1 ? n - 1 - i : i;
    for (unsigned i = n; sim.rng > 1 && i > 1; i--) {
        unsigned j = (unsigned)(random_next() % i), x = order[i - 1];
        order[i - 1] = order[j];
        order[j] = x;
    }
}

static void order_read()
{
    const char *name = getenv("RAISE_SIM_ORDER");
    if (!name || !*name || strcmp(name, "forward") == 0)
        sim.rng = 0;
    else if (strcmp(name, "reverse") == 0)
        sim.rng = 1;
    else
        sim.rng = 2 + strtoull(name, NULL, 10);
}

/* ---- running a block ---- */

static bool run_ready(unsigned i)
{
    if (i >= sim.n_threads || sim.fibers[i].state != READY)
        return false;
    sim.current = i;
    threadIdx.x = i;
    sim_switch(&sim.scheduler, sim.fibers[i].sp);
    return true;
}

/* As far as the warp gets without the others. */
static void run_warp(unsigned w)
{
    for (bool has_run = true; has_run;) {
        has_run = false;
        for (unsigned k = 0; k < SIM_WARP; k++)
            has_run |= run_ready(w * SIM_WARP + sim.lanes[k]);
    }
}

/* Thread i waits for lanes of its warp that do not come: dies with one of them. */
static void die_alone(unsigned i)
{
    unsigned base = i / SIM_WARP * SIM_WARP;
    uint32_t missing = sim.warps[i / SIM_WARP].mask & ~sim.warps[i / SIM_WARP].here;
    unsigned lane = (unsigned)__builtin_ctz(missing);
    if (base + lane < sim.n_threads)
        die_apart(i, base + lane);
    die_at(i, "waits for a lane that the block does not have");
}

/* All threads stand still. Opens the barrier; false: all have ended. */
static bool open_barrier()
{
    const struct fiber *f = sim.fibers;
    int votes = 0;
    unsigned n_ended = 0, waiting = 0;
    for (unsigned i = 0; i < sim.n_threads; i++) {
        if (f[i].state == AT_WARP)
            die_alone(i);
        if (f[i].state == ENDED)
            n_ended++;
        else
            waiting = i;
        votes += f[i].vote;
    }
    if (n_ended == sim.n_threads)
        return false;
    for (unsigned i = 0; i < sim.n_threads; i++)
        if (f[i].state == ENDED || f[i].place != f[waiting].place ||
            f[i].line != f[waiting].line)
            die_apart(waiting, i);
    for (unsigned i = 0; i < sim.n_threads; i++) {
        sim.fibers[i].vote = votes;
        sim.fibers[i].state = READY;
    }
    return true;
}

static void run_block()
{
    shared_begin();
    order_fill(sim.lanes, SIM_WARP);
    order_fill(sim.warp_order, sim.n_warps);
    for (unsigned i = 0; i < sim.n_threads; i++) {
        struct fiber *f = &sim.fibers[i];
        f->sp = stack_begin(stack_top(i), fiber_main);
        f->state = READY;
        f->vote = f->n_copies = f->n_groups = 0;
    }
    memset(sim.warps, 0, sim.n_warps * sizeof *sim.warps);
    do {
        for (unsigned i = 0; i < sim.n_warps; i++)
            run_warp(sim.warp_order[i]);
    } while (open_barrier());
    shared_end();
}

static void check_launch(struct sim_dim3 grid, unsigned block, size_t bytes)
{
    if (block < 1 || block > MAX_THREADS)
        die_at(0, "launched with a block of that many threads");
    if (grid.x < 1 || grid.x > 0x7fffffff || grid.y < 1 || grid.y > 65535 || grid.z != 1)
        die_at(0, "launched with a grid of that size");
    if (bytes > SIM_SHARED_MAX)
        die_at(0, "launched with more shared memory than there is");
}

void sim_launch(const char *kernel, struct sim_dim3 grid, unsigned block, size_t shared_bytes,
                sim_body *body, void *arg)
{
    if (!sim.stacks)
        stacks_open();
    sim.kernel = kernel;
    check_launch(grid, block, shared_bytes);
    toucher = 0;
    dl_iterate_phdr(find_fixed, NULL);
    order_read();
    sim.body = body;
    sim.arg = arg;
    sim.n_threads = block;
    sim.n_warps = (block + SIM_WARP - 1) / SIM_WARP;
    sim.dynamic_bytes = shared_bytes;
    gridDim = grid;
    blockDim = sim_dim3(block);
    for (uint64_t n = (uint64_t)grid.x * grid.y, i = 0; i < n; i++) {
        uint64_t b = sim.rng == 1 ? n - 1 - i : i;
        blockIdx = sim_dim3((unsigned)(b % grid.x), (unsigned)(b / grid.x), 0);
        run_block();
    }
}

/* ---- where threads meet ---- */

int sim_barrier(int x, const char *name, int line)
{
    struct fiber *f = self();
    f->state = AT_BLOCK;
    f->place = name;
    f->line = line;
    f->vote = x;
    yield();
    int votes = f->vote;
    f->vote = 0;
    return votes;
}

/* The last lane to come lets the others go. */
static void meet_now(struct warp *w, unsigned base, sim_meet *meet)
{
    void *args[SIM_WARP];
    for (unsigned k = 0; k < SIM_WARP; k++)
        args[k] = w->here >> k & 1 ? sim.fibers[base + k].arg : NULL;
    meet(args);
    for (unsigned k = 0; k < SIM_WARP; k++)
        if (w->here >> k & 1)
            sim.fibers[base + k].state = READY;
    w->here = 0;
}

void sim_warp(const char *name, int line, uint32_t mask, sim_meet *meet, void *arg)
{
    struct fiber *f = self();
    unsigned lane = sim.current % SIM_WARP, base = sim.current - lane;
    struct warp *w = &sim.warps[sim.current / SIM_WARP];
    f->place = name;
    f->line = line;
    f->arg = arg;
    f->state = AT_WARP;
    if (!(mask >> lane & 1))
        sim_die("calls a warp's operation with a mask that it is not in");
    if (!w->here) {
        w->mask = mask;
        w->first = base + lane;
    }
    const struct fiber *first = &sim.fibers[w->first];
    if (w->mask != mask || first->line != line || strcmp(first->place, name) != 0)
        die_apart(sim.current, w->first);
    w->here |= 1u << lane;
    if (w->here == mask)
        meet_now(w, base, meet);
    else
        yield();
}

/* ---- tensor cores ---- */

struct ldmatrix {
    uint32_t *r;
    const uint16_t *row;
    bool is_trans;
};

/* The 8 rows of a matrix are read at once: 16 bytes each, from different banks. */
static void check_banks(const struct ldmatrix *const *lanes)
{
    unsigned seen = 0;
    for (int i = 0; i < 8; i++)
        seen |= 1u << ((uintptr_t)lanes[i]->row / 16 % 8);
    if (seen != 0xff)
        sim_die("ldmatrix: rows in the same banks");
}

static void meet_ldmatrix(void **args)
{
    const struct ldmatrix *const *lanes = (const struct ldmatrix *const *)args;
    for (int m = 0; m < 4; m++) {
        check_banks(lanes + m * 8);
        for (int i = 0; i < SIM_WARP; i++) {
            int a = i / 4, b = i % 4 * 2;
            bool t = lanes[i]->is_trans;
            uint32_t low = t ? lanes[m * 8 + b]->row[a] : lanes[m * 8 + a]->row[b];
            uint32_t high = t ? lanes[m * 8 + b + 1]->row[a] : lanes[m * 8 + a]->row[b + 1];
            lanes[i]->r[m] = low | high << 16;
        }
    }
}

void sim_ldmatrix(uint32_t *r, const void *row, bool is_trans, int line)
{
    struct ldmatrix l = {r, (const uint16_t *)row, is_trans};
    sim_check_shared(row, 16, "ldmatrix");
    sim_warp(is_trans ? "ldmatrix.trans" : "ldmatrix", line, 0xffffffffu, meet_ldmatrix, &l);
}

struct mma {
    float *c;
    const uint32_t *a, *b;
};

static float half_of(uint32_t pair, int is_high)
{
    uint32_t u = is_high ? pair & 0xffff0000u : pair << 16;
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* A lane's place: row (or column of b) lane / 4, and pairs of columns from lane % 4 * 2. */
static void meet_mma(void **args)
{
    typedef float row_t __attribute__((vector_size(32)));
    const struct mma *const *lanes = (const struct mma *const *)args;
    float a[16][16];
    row_t b[16], c[16];
    for (int i = 0; i < SIM_WARP; i++) {
        int g = i / 4, t = i % 4 * 2;
        for (int e = 0; e < 8; e++)
            a[g + e / 2 % 2 * 8][t + e / 4 * 8 + e % 2] = half_of(lanes[i]->a[e / 2], e % 2);
        for (int e = 0; e < 4; e++) {
            b[t + e / 2 * 8 + e % 2][g] = half_of(lanes[i]->b[e / 2], e % 2);
            c[g + e / 2 * 8][t + e % 2] = lanes[i]->c[e];
        }
    }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            c[i] += a[i][k] * b[k];
    for (int i = 0; i < SIM_WARP; i++)
        for (int e = 0; e < 4; e++)
            lanes[i]->c[e] = c[i / 4 + e / 2 * 8][i % 4 * 2 + e % 2];
}

void sim_mma(float *c, const uint32_t *a, const uint32_t *b, int line)
{
    struct mma m = {c, a, b};
    sim_warp("mma", line, 0xffffffffu, meet_mma, &m);
}

/* ---- asynchronous copies ---- */

void sim_copy_async(void *to, const void *from, size_t bytes, bool is_there)
{
    struct fiber *f = self();
    sim_check_shared(to, bytes, "cp.async");
    if ((uintptr_t)from % bytes)
        sim_die("cp.async: source not aligned");
    if (f->n_copies == SIM_COPIES)
        sim_die("cp.async: more copies under way than the simulated device holds");
    f->copies[f->n_copies++] = {(char *)to, (const char *)from, bytes, is_there, f->n_groups};
    memset(to, POISON, bytes);
}

void sim_copy_commit(void)
{
    self()->n_groups++;
}

void sim_copy_wait(int n_left)
{
    struct fiber *f = self();
    int n = 0;
    for (int i = 0; i < f->n_copies; i++) {
        const struct copy c = f->copies[i];
        if (c.group >= f->n_groups - n_left)
            f->copies[n++] = c;
        else if (c.is_there)
            memcpy(c.to, c.from, c.bytes);
        else
            memset(c.to, 0, c.bytes);
    }
    f->n_copies = n;
}
