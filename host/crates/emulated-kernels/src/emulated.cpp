// Fibers for the threads of a block, and their barriers. Start reading at `run`.
#include "emulated.h"

#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include <memory>
#include <vector>

thread_local Place threadIdx, blockIdx, blockDim, gridDim;

namespace {

const size_t STACK = 64 << 10;
const unsigned MOST_THREADS = 1024, WARP = 32;

struct Barrier {
    // Threads that have not ended, that wait, and how often all of them have come.
    unsigned living = 0, waiting = 0, turn = 0;
};

#if defined(__x86_64__)
// Keeps what a call must keep, and changes the stack.
extern "C" void emulated_switch(void** from, void* to);
asm(R"(
.text
.globl emulated_switch
.type emulated_switch,@function
emulated_switch:
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
.size emulated_switch,.-emulated_switch
)");

struct Context {
    void* stack = nullptr;
    void prepare(char* memory, size_t size, void (*entry)()) {
        void** top = (void**)(((size_t)memory + size) & ~(size_t)15);
        // The entry finds the stack as after a call: 8 bytes off a multiple of 16.
        *--top = nullptr;
        *--top = (void*)entry;
        for (int i = 0; i < 6; i++) *--top = nullptr;
        stack = top;
    }
};
void change(Context& from, Context& to) { emulated_switch(&from.stack, to.stack); }
#else
struct Context {
    ucontext_t context;
    void prepare(char* memory, size_t size, void (*entry)()) {
        getcontext(&context);
        context.uc_stack.ss_sp = memory;
        context.uc_stack.ss_size = size;
        context.uc_link = nullptr;
        makecontext(&context, entry, 0);
    }
};
void change(Context& from, Context& to) { swapcontext(&from.context, &to.context); }
#endif

// A copy that a thread has started, in which of its groups.
struct Copy {
    void* to;
    const void* from;
    unsigned bytes;
    bool inside;
    unsigned group;
};

struct Fiber {
    Context context;
    std::unique_ptr<char[]> stack{new char[STACK]};
    bool ended = false;
    std::vector<Copy> copies;
    unsigned groups = 0;
};

struct Block {
    std::vector<Fiber> fibers;
    Context host;
    unsigned current = 0;
    Barrier all;
    Barrier warps[MOST_THREADS / WARP];
    float slots[MOST_THREADS];
    // Of each lane its part of a product's left side and of its right side.
    unsigned fragments[MOST_THREADS][6];
    // Of each lane the row that it names of the matrices that its warp loads.
    const void* rows[MOST_THREADS];
    std::vector<float> dynamic;
    const emulated::Kernel* kernel = nullptr;
    void** arguments = nullptr;
    // Barriers passed and threads ended, to find out that none can go on.
    unsigned long long progress = 0;
};

Block& block() {
    static thread_local Block block;
    return block;
}

void give_way() {
    Block& b = block();
    change(b.fibers[b.current].context, b.host);
}

// Lets the waiting ones go once all living ones have come.
bool passed(Barrier& barrier) {
    if (barrier.living == 0 || barrier.waiting < barrier.living) return false;
    barrier.waiting = 0;
    barrier.turn++;
    block().progress++;
    return true;
}

void wait(Barrier& barrier) {
    unsigned turn = barrier.turn;
    barrier.waiting++;
    if (passed(barrier)) return;
    while (barrier.turn == turn) give_way();
}

void entry() {
    Block& b = block();
    b.kernel->call(b.kernel->kernel, b.arguments);
    b.fibers[b.current].ended = true;
    b.progress++;
    for (Barrier* barrier : {&b.all, &b.warps[b.current / WARP]}) {
        barrier->living--;
        passed(*barrier);
    }
    for (;;) give_way();
}

void run_block(unsigned threads) {
    Block& b = block();
    if (b.fibers.size() < threads) b.fibers.resize(threads);
    b.all = {threads, 0, 0};
    for (unsigned warp = 0; warp * WARP < threads; warp++)
        b.warps[warp] = {std::min(WARP, threads - warp * WARP), 0, 0};
    for (unsigned i = 0; i < threads; i++) {
        b.fibers[i].ended = false;
        b.fibers[i].copies.clear();
        b.fibers[i].groups = 0;
        b.fibers[i].context.prepare(b.fibers[i].stack.get(), STACK, entry);
    }
    for (unsigned left = threads; left > 0;) {
        unsigned long long before = b.progress;
        left = 0;
        for (b.current = 0; b.current < threads; b.current++) {
            if (b.fibers[b.current].ended) continue;
            threadIdx.x = b.current;
            change(b.host, b.fibers[b.current].context);
            left += !b.fibers[b.current].ended;
        }
        if (left > 0 && b.progress == before) {
            fprintf(stderr, "%s: its threads wait for each other for ever\n", b.kernel->name);
            abort();
        }
    }
}

}  // namespace

namespace emulated {

void block_barrier() { wait(block().all); }
void warp_barrier() { wait(block().warps[block().current / WARP]); }
float* dynamic() { return block().dynamic.data(); }
float* slots() { return block().slots + block().current / WARP * WARP; }

namespace {

// Half `which` of two bf16.
float part(unsigned two, int which) { return __uint_as_float(which ? two & 0xffff0000 : two << 16); }

}  // namespace

// The fragments are those of PTX ISA's figures: of the left side (row, k) lies with lane row % 8 * 4 + k % 8 / 2, in register
// row / 8 + k / 8 * 2; of the right side (k, column) with lane column * 4 + k % 8 / 2, in register k / 8; each as half k % 2.
void mma(float* c, const unsigned* a, const unsigned* b) {
    Block& block = ::block();
    unsigned(*warp)[6] = block.fragments + block.current / WARP * WARP;
    unsigned lane = block.current % WARP;
    memcpy(warp[lane], a, 4 * sizeof(unsigned));
    memcpy(warp[lane] + 4, b, 2 * sizeof(unsigned));
    warp_barrier();
    for (unsigned i = 0; i < 4; i++) {
        unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (unsigned k = 0; k < 16; k++) {
            float x = part(warp[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2], k % 2);
            float y = part(warp[column * 4 + k % 8 / 2][4 + k / 8], k % 2);
            c[i] += x * y;
        }
    }
    warp_barrier();
}

// PTX ISA's figure for ldmatrix: lane row * 4 + column / 2 gets both of a pair of columns, turned of a pair of rows.
void load_matrices(unsigned* out, const void* row, bool turned) {
    Block& block = ::block();
    const void** warp = block.rows + block.current / WARP * WARP;
    unsigned lane = block.current % WARP;
    if ((size_t)row % 16) {
        fprintf(stderr, "%s: loads a matrix whose row begins at no multiple of 16 bytes\n", block.kernel->name);
        abort();
    }
    warp[lane] = row;
    warp_barrier();
    for (unsigned matrix = 0; matrix < 4; matrix++) {
        out[matrix] = 0;
        for (unsigned half = 0; half < 2; half++) {
            unsigned row = lane / 4, column = lane % 4 * 2 + half;
            if (turned) std::swap(row, column);
            out[matrix] |= (unsigned)((const unsigned short*)warp[matrix * 8 + row])[column] << 16 * half;
        }
    }
    warp_barrier();
}

void copy(void* to, const void* from, unsigned bytes, bool inside) {
    Fiber& fiber = block().fibers[block().current];
    if ((size_t)to % bytes || (size_t)from % bytes) {
        fprintf(stderr, "%s: copies %u bytes from or to no multiple of them\n", block().kernel->name, bytes);
        abort();
    }
    memset(to, 0xff, bytes);
    fiber.copies.push_back({to, from, bytes, inside, fiber.groups});
}

void end_group() { block().fibers[block().current].groups++; }

void await_groups(unsigned later) {
    Fiber& fiber = block().fibers[block().current];
    auto awaited = [&](const Copy& copy) { return copy.group + later < fiber.groups; };
    for (const Copy& copy : fiber.copies) {
        if (!awaited(copy)) continue;
        if (copy.inside) memcpy(copy.to, copy.from, copy.bytes);
        else memset(copy.to, 0, copy.bytes);
    }
    fiber.copies.erase(std::remove_if(fiber.copies.begin(), fiber.copies.end(), awaited), fiber.copies.end());
}

int run(const Kernel& kernel, const Launch& launch) {
    unsigned threads = launch.block;
    if (threads == 0 || threads > MOST_THREADS || launch.grid[0] == 0 || launch.grid[1] == 0) return 0;
    if (launch.count != kernel.count || memcmp(launch.sizes, kernel.sizes, kernel.count * sizeof(kernel.sizes[0])))
        return 0;
    Block& b = block();
    b.kernel = &kernel;
    b.arguments = launch.arguments;
    // Shared memory holds whatever it held; not a number finds out who relies on it.
    b.dynamic.assign(launch.shared / sizeof(float), NAN);
    blockDim = {threads, 1, 1};
    gridDim = {launch.grid[0], launch.grid[1], 1};
    for (unsigned y = 0; y < launch.grid[1]; y++)
        for (unsigned x = 0; x < launch.grid[0]; x++) {
            blockIdx = {x, y, 0};
            run_block(threads);
        }
    return 1;
}

}  // namespace emulated
