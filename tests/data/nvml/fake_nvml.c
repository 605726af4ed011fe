/* A libnvidia-ml.so.1 for machines without a GPU: the real bindings load it and get answers of the real form.
 *
 * It plays eight H200 on an NVSwitch board. Environment variables plant what goes wrong. A value is a number for all
 * GPUs, or "3:2,5:8": 2 for GPU 3, 8 for GPU 5, healthy for the rest.
 *   FAKE_GPUS=n               how many there are
 *   FAKE_INIT=code            nvmlInit fails with this code (9: driver not loaded, 18: library and driver differ)
 *   FAKE_HANG=1               nvmlInit never returns
 *   FAKE_HANG_IN=function     this function never returns
 *   FAKE_DIES_IN=function     this function ends the process
 *   FAKE_FAIL=function:code,… these functions fail with this code (3: not supported, 13: not found in this driver)
 *   FAKE_LOST=i               GPU i has fallen off the bus (code 15) before it was asked
 *   FAKE_LOST_AFTER=i:n       GPU i falls off the bus after n questions
 *   FAKE_OLD=1                a driver of 2021: no version 2 of the memory's struct, no version 3 of the processes', no
 *                             clocks' event reasons, no fabric
 *   FAKE_FABRIC=n             the newest form of the fabric's struct that the driver knows (1, 2, 3)
 *   FAKE_PID=pid              this process holds 10 GiB of GPU 0
 *   FAKE_NOISE=1              the library prints to standard output
 *   FAKE_MIG, FAKE_ECC (0: off), FAKE_UNCORRECTED, FAKE_REMAP_PENDING, FAKE_REMAP_FAILED, FAKE_PAGES (retired, on
 *   boards that do not remap rows), FAKE_TEMPERATURE, FAKE_MARGIN (no absolute threshold), FAKE_CAP_W, FAKE_SM, FAKE_SM_MAX,
 *   FAKE_BUSY (percent), FAKE_THROTTLE (bits), FAKE_WIDTH, FAKE_WIDTH_MAX, FAKE_GENERATION_MAX, FAKE_REPLAYS, FAKE_LINKS, FAKE_LINKS_UP,
 *   FAKE_BRIDGED (links lead to the neighbour, not to switches), FAKE_RECOVERIES, FAKE_STATE (of the fabric),
 *   FAKE_STATUS, FAKE_MASK, FAKE_SUMMARY, FAKE_P2P, FAKE_PERSISTENCE
 * The values are plausible, not recorded.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, FUNCTION_NOT_FOUND = 13,
    LOST = 15, VERSION_MISMATCH = 25
};
#define GIB (1ULL << 30)
#define TOTAL (141ULL * GIB)
#define RESERVED (600ULL << 20)
#define IDLE (4ULL << 20)
#define NVLINKS 18
#define MIG_HANDLE 1000

static int asked[64];

static long of(void *gpu) { return (long)gpu - 1; }

static long planted(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

/* The value for one GPU of "7" or "3:2,5:8". */
static long at(void *gpu, const char *name, long otherwise) {
    const char *text = getenv(name);
    if (!text) return otherwise;
    if (!strchr(text, ':')) return atol(text);
    while (text && *text) {
        char *value;
        long index = strtol(text, &value, 10);
        if (*value == ':' && index == of(gpu)) return atol(value + 1);
        text = strchr(text, ',');
        if (text) text++;
    }
    return otherwise;
}

static int named(const char *variable, const char *function) {
    const char *text = getenv(variable);
    return text && !strcmp(text, function);
}

static int failing(const char *function) {
    const char *text = getenv("FAKE_FAIL");
    size_t length = strlen(function);
    while (text && *text) {
        if (!strncmp(text, function, length) && text[length] == ':') return atoi(text + length + 1);
        text = strchr(text, ',');
        if (text) text++;
    }
    return OK;
}

static int entered(void *gpu, const char *function) {
    while (named("FAKE_HANG_IN", function)) pause();
    if (named("FAKE_DIES_IN", function)) abort();
    if (gpu && of(gpu) < 64 && ++asked[of(gpu)] > at(gpu, "FAKE_LOST_AFTER", 1 << 30)) return LOST;
    return failing(function);
}

#define ENTER(gpu) do { int code = entered(gpu, __func__); if (code) return code; } while (0)
#define OLD do { if (planted("FAKE_OLD", 0)) return FUNCTION_NOT_FOUND; } while (0)
#define VALUE(function, expression) \
    int function(void *gpu, unsigned *value) { ENTER(gpu); return *value = (unsigned)(expression), OK; }

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
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    case 9: return "Driver Not Loaded";
    case FUNCTION_NOT_FOUND: return "Function Not Found";
    case LOST: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *text, unsigned size) { ENTER(0); return snprintf(text, size, "575.57.08"), OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { ENTER(0); return *version = 12090, OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { ENTER(0); return *count = (unsigned)planted("FAKE_GPUS", 8), OK; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **gpu) {
    if ((long)index == planted("FAKE_LOST", -1)) return LOST;
    *gpu = (void *)(long)(index + 1);
    return OK;
}

int nvmlDeviceGetName(void *gpu, char *text, unsigned size) {
    ENTER(gpu);
    return snprintf(text, size, of(gpu) >= MIG_HANDLE ? "NVIDIA H200 MIG 1g.18gb" : "NVIDIA H200"), OK;
}

int nvmlDeviceGetUUID(void *gpu, char *text, unsigned size) {
    ENTER(gpu);
    const char *kind = of(gpu) >= MIG_HANDLE ? "MIG" : "GPU";
    return snprintf(text, size, "%s-00000000-0000-0000-0000-%012ld", kind, of(gpu) % MIG_HANDLE), OK;
}

int nvmlDeviceGetSerial(void *gpu, char *text, unsigned size) {
    ENTER(gpu);
    return snprintf(text, size, "165002400%04ld", of(gpu) + 1), OK;
}

int nvmlDeviceGetVbiosVersion(void *gpu, char *text, unsigned size) {
    ENTER(gpu);
    return snprintf(text, size, "96.00.D0.00.03"), OK;
}

struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };

static void place(struct pci *pci, long bus) {
    memset(pci, 0, sizeof *pci);
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02lX:00.0", bus);
}

int nvmlDeviceGetPciInfo_v3(void *gpu, struct pci *pci) {
    ENTER(gpu);
    return place(pci, 0x1B + 0x10 * of(gpu)), OK;
}

struct memory { unsigned long long total, free, used; };

int nvmlDeviceGetMemoryInfo(void *gpu, struct memory *memory) {
    ENTER(gpu);
    memory->total = of(gpu) >= MIG_HANDLE ? 18 * GIB : TOTAL;
    memory->used = used(gpu) + RESERVED;
    memory->free = memory->total - memory->used;
    return OK;
}

struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };

int nvmlDeviceGetMemoryInfo_v2(void *gpu, struct memory_v2 *memory) {
    ENTER(gpu);
    OLD;
    if (memory->version != (unsigned)(sizeof *memory | 2 << 24)) return VERSION_MISMATCH;
    memory->total = TOTAL;
    memory->reserved = RESERVED;
    memory->used = used(gpu);
    memory->free = TOTAL - RESERVED - memory->used;
    return OK;
}

int nvmlDeviceGetCudaComputeCapability(void *gpu, int *major, int *minor) {
    ENTER(gpu);
    return *major = 9, *minor = 0, OK;
}

VALUE(nvmlDeviceGetComputeMode, 0)
VALUE(nvmlDeviceGetPersistenceMode, at(gpu, "FAKE_PERSISTENCE", 1))

int nvmlDeviceGetMigMode(void *gpu, unsigned *current, unsigned *pending) {
    ENTER(gpu);
    if (planted("FAKE_OLD", 0)) return NOT_SUPPORTED;
    return *current = *pending = (unsigned)at(gpu, "FAKE_MIG", 0), OK;
}

VALUE(nvmlDeviceGetMaxMigDeviceCount, 7)

int nvmlDeviceGetMigDeviceHandleByIndex(void *gpu, unsigned index, void **instance) {
    ENTER(gpu);
    if (index > 1) return NOT_FOUND;
    *instance = (void *)(long)(MIG_HANDLE + 2 * of(gpu) + index + 1);
    return OK;
}

struct utilisation { unsigned gpu, memory; };

int nvmlDeviceGetUtilizationRates(void *gpu, struct utilisation *rates) {
    ENTER(gpu);
    if (at(gpu, "FAKE_MIG", 0)) return NOT_SUPPORTED;
    rates->gpu = (unsigned)at(gpu, "FAKE_BUSY", of(gpu) == 0 && planted("FAKE_PID", 0) ? 80 : 0);
    rates->memory = 0;
    return OK;
}

struct process { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };

/* Who uses the first GPU: FAKE_PID, or what the file FAKE_PID_FILE says by now. */
static long user(void) {
    const char *path = getenv("FAKE_PID_FILE");
    FILE *file = path ? fopen(path, "r") : NULL;
    long pid = 0;
    if (file) {
        if (fscanf(file, "%ld", &pid) != 1) pid = 0;
        fclose(file);
    }
    return pid ? pid : planted("FAKE_PID", 0);
}

static int processes(void *gpu, unsigned *count, struct process *list) {
    unsigned found = of(gpu) == 0 && user() ? 1 : 0;
    unsigned room = *count;
    *count = found;
    if (found > room) return INSUFFICIENT_SIZE;
    if (found) list[0] = (struct process){.pid = (unsigned)user(), .used = 10 * GIB};
    return OK;
}

int nvmlDeviceGetComputeRunningProcesses_v2(void *gpu, unsigned *count, struct process *list) {
    ENTER(gpu);
    return processes(gpu, count, list);
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *gpu, unsigned *count, struct process *list) {
    ENTER(gpu);
    OLD;
    return processes(gpu, count, list);
}

/* Memory errors and repairs. */

int nvmlDeviceGetEccMode(void *gpu, unsigned *current, unsigned *pending) {
    ENTER(gpu);
    return *current = *pending = (unsigned)at(gpu, "FAKE_ECC", 1), OK;
}

int nvmlDeviceGetTotalEccErrors(void *gpu, unsigned uncorrected, unsigned aggregate, unsigned long long *count) {
    ENTER(gpu);
    long now = uncorrected ? at(gpu, "FAKE_UNCORRECTED", 0) : 0;
    return *count = (unsigned long long)(aggregate && !uncorrected ? 3 : now), OK;
}

int nvmlDeviceGetRemappedRows(void *gpu, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    ENTER(gpu);
    if (getenv("FAKE_PAGES")) return NOT_SUPPORTED;
    *corrected = *uncorrected = 0;
    *pending = (unsigned)at(gpu, "FAKE_REMAP_PENDING", 0);
    *failed = (unsigned)at(gpu, "FAKE_REMAP_FAILED", 0);
    return OK;
}

int nvmlDeviceGetRetiredPages(void *gpu, unsigned cause, unsigned *count, unsigned long long *pages) {
    ENTER(gpu);
    if (!getenv("FAKE_PAGES")) return NOT_SUPPORTED;
    unsigned found = cause ? (unsigned)at(gpu, "FAKE_PAGES", 0) : 0;
    if (*count < found) return *count = found, INSUFFICIENT_SIZE;
    for (unsigned i = 0; pages && i < found; i++) pages[i] = i << 16;
    return *count = found, OK;
}

VALUE(nvmlDeviceGetRetiredPagesPendingStatus, at(gpu, "FAKE_PAGES", 0) > 0)

/* Heat, power, clocks. */

int nvmlDeviceGetTemperature(void *gpu, unsigned sensor, unsigned *degrees) {
    ENTER(gpu);
    (void)sensor;
    return *degrees = (unsigned)at(gpu, "FAKE_TEMPERATURE", 31), OK;
}

int nvmlDeviceGetTemperatureThreshold(void *gpu, unsigned kind, unsigned *degrees) {
    ENTER(gpu);
    if (getenv("FAKE_MARGIN")) return NOT_SUPPORTED;
    return *degrees = kind ? 90 : 95, OK;
}

struct margin { unsigned version; int degrees; };

int nvmlDeviceGetMarginTemperature(void *gpu, struct margin *margin) {
    ENTER(gpu);
    return margin->degrees = (int)at(gpu, "FAKE_MARGIN", 0), OK;
}

struct field { unsigned id, scope; long long at, latency; unsigned type; int code; unsigned long long value; };

int nvmlDeviceGetFieldValues(void *gpu, int count, struct field *fields) {
    ENTER(gpu);
    for (int i = 0; i < count; i++) {
        fields[i].code = fields[i].id == 82 ? OK : NOT_SUPPORTED; /* 82: temperature of the memory */
        fields[i].value = 38;
    }
    return OK;
}

VALUE(nvmlDeviceGetPowerUsage, 76500)
VALUE(nvmlDeviceGetEnforcedPowerLimit, 1000 * at(gpu, "FAKE_CAP_W", 700))
VALUE(nvmlDeviceGetPowerManagementDefaultLimit, 700000)

int nvmlDeviceGetClockInfo(void *gpu, unsigned kind, unsigned *mhz) {
    ENTER(gpu);
    return *mhz = kind == 2 ? 3201 : (unsigned)at(gpu, "FAKE_SM", 345), OK;
}

int nvmlDeviceGetMaxClockInfo(void *gpu, unsigned kind, unsigned *mhz) {
    ENTER(gpu);
    return *mhz = kind == 2 ? 3201 : (unsigned)at(gpu, "FAKE_SM_MAX", 1980), OK;
}

int nvmlDeviceGetCurrentClocksEventReasons(void *gpu, unsigned long long *bits) {
    ENTER(gpu);
    OLD;
    return *bits = (unsigned long long)at(gpu, "FAKE_THROTTLE", 1), OK;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *gpu, unsigned long long *bits) {
    ENTER(gpu);
    return *bits = (unsigned long long)at(gpu, "FAKE_THROTTLE", 1), OK;
}

/* Its link to the host. */

VALUE(nvmlDeviceGetCurrPcieLinkGeneration, 5)
VALUE(nvmlDeviceGetMaxPcieLinkGeneration, at(gpu, "FAKE_GENERATION_MAX", 5))
VALUE(nvmlDeviceGetGpuMaxPcieLinkGeneration, 5)
VALUE(nvmlDeviceGetCurrPcieLinkWidth, at(gpu, "FAKE_WIDTH", 16))
VALUE(nvmlDeviceGetMaxPcieLinkWidth, at(gpu, "FAKE_WIDTH_MAX", 16))
VALUE(nvmlDeviceGetPcieReplayCounter, at(gpu, "FAKE_REPLAYS", 0))

/* Its links to other GPUs. */

static int link_there(void *gpu, unsigned link) {
    if (link >= NVLINKS) return INVALID_ARGUMENT;
    return (long)link < at(gpu, "FAKE_LINKS", NVLINKS) ? OK : NOT_SUPPORTED;
}

#define LINK(gpu, link) do { ENTER(gpu); int code = link_there(gpu, link); if (code) return code; } while (0)

int nvmlDeviceGetNvLinkState(void *gpu, unsigned link, unsigned *active) {
    LINK(gpu, link);
    return *active = (long)link < at(gpu, "FAKE_LINKS_UP", NVLINKS), OK;
}

int nvmlDeviceGetNvLinkVersion(void *gpu, unsigned link, unsigned *version) { LINK(gpu, link); return *version = 6, OK; }

int nvmlDeviceGetNvLinkRemoteDeviceType(void *gpu, unsigned link, unsigned *kind) {
    LINK(gpu, link);
    return *kind = planted("FAKE_BRIDGED", 0) ? 0 : 2, OK;
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *gpu, unsigned link, struct pci *pci) {
    LINK(gpu, link);
    return place(pci, planted("FAKE_BRIDGED", 0) ? 0x1B + 0x10 * (of(gpu) ^ 1) : 4 + link % 4), OK;
}

int nvmlDeviceGetNvLinkErrorCounter(void *gpu, unsigned link, unsigned counter, unsigned long long *count) {
    LINK(gpu, link);
    return *count = (unsigned long long)(counter == 1 ? at(gpu, "FAKE_RECOVERIES", 0) : 0), OK;
}

struct fabric { unsigned char uuid[16]; int status; unsigned clique; unsigned char state; };
struct fabric_v3 {
    unsigned version; unsigned char uuid[16]; int status; unsigned clique; unsigned char state; unsigned mask;
    unsigned char summary;
};

int nvmlDeviceGetGpuFabricInfo(void *gpu, struct fabric *fabric) {
    ENTER(gpu);
    OLD;
    fabric->status = (int)at(gpu, "FAKE_STATUS", OK);
    fabric->state = (unsigned char)at(gpu, "FAKE_STATE", 3);
    return OK;
}

int nvmlDeviceGetGpuFabricInfoV(void *gpu, struct fabric_v3 *fabric) {
    ENTER(gpu);
    OLD;
    long newest = planted("FAKE_FABRIC", 3);
    if (newest < 2) return FUNCTION_NOT_FOUND;
    if (fabric->version >> 24 > newest) return VERSION_MISMATCH;
    fabric->status = (int)at(gpu, "FAKE_STATUS", OK);
    fabric->state = (unsigned char)at(gpu, "FAKE_STATE", 3);
    fabric->mask = (unsigned)at(gpu, "FAKE_MASK", 2);
    if (fabric->version >> 24 == 3) fabric->summary = (unsigned char)at(gpu, "FAKE_SUMMARY", 1);
    return OK;
}

int nvmlDeviceGetTopologyCommonAncestor(void *one, void *other, unsigned *level) {
    ENTER(one);
    return *level = of(one) / 4 == of(other) / 4 ? 40 : 50, OK;
}

int nvmlDeviceGetP2PStatus(void *one, void *other, unsigned kind, unsigned *status) {
    ENTER(one);
    (void)kind;
    (void)other;
    return *status = (unsigned)at(one, "FAKE_P2P", OK), OK;
}
