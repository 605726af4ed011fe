/* A libnvidia-ml.so.1 for machines without a GPU: the real bindings load it and get answers of the real form.
 *
 * It plays two H200. Environment variables plant what goes wrong:
 *   FAKE_GPUS=n         how many there are
 *   FAKE_INIT=code      nvmlInit fails with this code (9: driver not loaded, 18: library and driver differ)
 *   FAKE_HANG=1         nvmlInit never returns
 *   FAKE_LOST=i         GPU i has fallen off the bus (code 15)
 *   FAKE_OLD=1          a driver of 2021: no version 2 of the memory's struct, no version 3 of the processes'
 *   FAKE_PID=pid        this process holds 10 GiB of GPU 0
 *   FAKE_MIG=1          MIG is on
 *   FAKE_NOISE=1        the library prints to standard output
 * The values are plausible, not recorded.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, FUNCTION_NOT_FOUND = 13, LOST = 15 };
#define GIB (1ULL << 30)
#define TOTAL (141ULL * GIB)
#define RESERVED (600ULL << 20)
#define IDLE (4ULL << 20)

static long planted(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

static long of(void *gpu) { return (long)gpu - 1; }

static unsigned long long used(void *gpu) { return of(gpu) == 0 && planted("FAKE_PID", 0) ? 10 * GIB : IDLE; }

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    while (planted("FAKE_HANG", 0)) pause();
    if (planted("FAKE_NOISE", 0)) puts("libnvidia-ml says hello");
    return (int)planted("FAKE_INIT", OK);
}

int nvmlShutdown(void) { return OK; }

const char *nvmlErrorString(int code) {
    switch (code) {
    case OK: return "Success";
    case NOT_SUPPORTED: return "Not Supported";
    case 9: return "Driver Not Loaded";
    case FUNCTION_NOT_FOUND: return "Function Not Found";
    case LOST: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *text, unsigned size) { return snprintf(text, size, "575.57.08"), OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { return *version = 12090, OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { return *count = (unsigned)planted("FAKE_GPUS", 2), OK; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **gpu) {
    if ((long)index == planted("FAKE_LOST", -1)) return LOST;
    *gpu = (void *)(long)(index + 1);
    return OK;
}

int nvmlDeviceGetName(void *gpu, char *text, unsigned size) { (void)gpu; return snprintf(text, size, "NVIDIA H200"), OK; }

int nvmlDeviceGetUUID(void *gpu, char *text, unsigned size) {
    return snprintf(text, size, "GPU-00000000-0000-0000-0000-%012ld", of(gpu)), OK;
}

struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };

int nvmlDeviceGetPciInfo_v3(void *gpu, struct pci *pci) {
    memset(pci, 0, sizeof *pci);
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02lX:00.0", 0x1BL + 0x10 * of(gpu));
    return OK;
}

struct memory { unsigned long long total, free, used; };

int nvmlDeviceGetMemoryInfo(void *gpu, struct memory *memory) {
    memory->total = TOTAL;
    memory->used = used(gpu) + RESERVED;
    memory->free = TOTAL - memory->used;
    return OK;
}

struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };

int nvmlDeviceGetMemoryInfo_v2(void *gpu, struct memory_v2 *memory) {
    if (planted("FAKE_OLD", 0)) return FUNCTION_NOT_FOUND;
    if (memory->version != (unsigned)(sizeof *memory | 2 << 24)) return 25;
    memory->total = TOTAL;
    memory->reserved = RESERVED;
    memory->used = used(gpu);
    memory->free = TOTAL - RESERVED - memory->used;
    return OK;
}

int nvmlDeviceGetCudaComputeCapability(void *gpu, int *major, int *minor) { (void)gpu; return *major = 9, *minor = 0, OK; }
int nvmlDeviceGetComputeMode(void *gpu, unsigned *mode) { (void)gpu; return *mode = 0, OK; }

int nvmlDeviceGetMigMode(void *gpu, unsigned *current, unsigned *pending) {
    (void)gpu;
    if (planted("FAKE_OLD", 0)) return NOT_SUPPORTED;
    return *current = *pending = (unsigned)planted("FAKE_MIG", 0), OK;
}

struct utilisation { unsigned gpu, memory; };

int nvmlDeviceGetUtilizationRates(void *gpu, struct utilisation *rates) {
    if (planted("FAKE_MIG", 0)) return NOT_SUPPORTED;
    rates->gpu = of(gpu) == 0 && planted("FAKE_PID", 0) ? 80 : 0;
    rates->memory = 0;
    return OK;
}

struct process { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };

static int processes(void *gpu, unsigned *count, struct process *list) {
    unsigned found = of(gpu) == 0 && planted("FAKE_PID", 0) ? 1 : 0;
    unsigned room = *count;
    *count = found;
    if (found > room) return INSUFFICIENT_SIZE;
    if (found) list[0] = (struct process){.pid = (unsigned)planted("FAKE_PID", 0), .used = 10 * GIB};
    return OK;
}

int nvmlDeviceGetComputeRunningProcesses_v2(void *gpu, unsigned *count, struct process *list) {
    return processes(gpu, count, list);
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *gpu, unsigned *count, struct process *list) {
    return planted("FAKE_OLD", 0) ? FUNCTION_NOT_FOUND : processes(gpu, count, list);
}
