/* Shifts the time of day that a program sees by $LAB_SHIFT_S seconds, and no other clock; for LD_PRELOAD.
 *
 * libfaketime does more, and too much: its clock_nanosleep fails for Python's time.sleep where monotonic clocks are
 * to stay as they are. What a thread waits for until a time of day is shifted back, or it would wait that much longer.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t shift_s;

__attribute__((constructor)) static void read_shift(void) {
    const char *text = getenv("LAB_SHIFT_S");
    shift_s = text ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift_s;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *told) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (told) *told = exact.tv_sec;
    return exact.tv_sec;
}

/* Which clock a deadline is of, and the deadline itself shifted back: no machine has been up for thirty years. */
static clockid_t true_deadline(const struct timespec *seen, struct timespec *meant) {
    *meant = *seen;
    if (seen->tv_sec < 1000000000) return CLOCK_MONOTONIC;
    meant->tv_sec -= shift_s;
    return CLOCK_REALTIME;
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict deadline) {
    struct timespec meant;
    clockid_t clock = true_deadline(deadline, &meant);
    return pthread_cond_clockwait(cond, mutex, clock, &meant);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict deadline) {
    struct timespec meant;
    clockid_t clock = true_deadline(deadline, &meant);
    return sem_clockwait(semaphore, clock, &meant);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict deadline) {
    struct timespec meant;
    clockid_t clock = true_deadline(deadline, &meant);
    return pthread_mutex_clocklock(mutex, clock, &meant);
}
