/*
 * Vectors of float32 for the instruction set that the including file targets. LANES floats make a
 * vector, VECTORS vectors a panel of PANEL columns; TILE_ROWS x PANEL is the largest tile of a
 * product that stays in registers.
 */
#ifndef TROUPE_SIMD_H
#define TROUPE_SIMD_H

#include <stdint.h>

/*
 * UNROLL_ALL: loops over the rows and vectors of a tile, so that each vector is a register.
 * UNROLL_TWICE: the summed dimension.
 */
#if defined(__clang__)
#define UNROLL_ALL _Pragma("clang loop unroll(full)")
#define UNROLL_TWICE _Pragma("clang loop unroll_count(2)")
#else
#define UNROLL_ALL _Pragma("GCC unroll 16")
#define UNROLL_TWICE _Pragma("GCC unroll 2")
#endif

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)

#include <immintrin.h>
#define VARIANT avx512
#define LANES 16
#define VECTORS 2
#define TILE_ROWS 14
#define FMA(a, b, c) ((vf)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
/* These return the second operand if either is NaN. */
#define AT_MOST(limit, x) ((vf)_mm512_min_ps((__m512)(limit), (__m512)(x)))
#define AT_LEAST(limit, x) ((vf)_mm512_max_ps((__m512)(limit), (__m512)(x)))

#elif defined(__AVX2__)

#include <immintrin.h>
#define VARIANT avx2
#define LANES 8
#define VECTORS 2
#define TILE_ROWS 6
#define FMA(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define AT_MOST(limit, x) ((vf)_mm256_min_ps((__m256)(limit), (__m256)(x)))
#define AT_LEAST(limit, x) ((vf)_mm256_max_ps((__m256)(limit), (__m256)(x)))

#elif defined(__aarch64__)

#include <arm_neon.h>
#define VARIANT neon
#define LANES 4
#define VECTORS 4
#define TILE_ROWS 5
#define FMA(a, b, c) ((vf)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
/* NaN in either operand gives NaN. */
#define AT_MOST(limit, x) ((vf)vminq_f32((float32x4_t)(limit), (float32x4_t)(x)))
#define AT_LEAST(limit, x) ((vf)vmaxq_f32((float32x4_t)(limit), (float32x4_t)(x)))

#else
#error "no vector instructions that the kernels know"
#endif

#define PANEL (VECTORS * LANES)

typedef float vf __attribute__((vector_size(LANES * 4), aligned(4)));
typedef uint32_t vu __attribute__((vector_size(LANES * 4), aligned(4)));

/* Reads or writes a vector at any float address. */
typedef float vfThere __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

INLINE vf load(const float *from) { return (vf) * (const vfThere *)from; }
INLINE void store(float *to, vf value) { *(vfThere *)to = (vfThere)value; }
INLINE vf splat(float value) { return value - (vf){0}; }
INLINE vu splatBits(uint32_t value) { return value - (vu){0}; }

/*
 * sum [VECTORS] += factor * y [VECTORS]. One block of assembly on x86, because compilers move the
 * broadcasts of a whole tile to the front and then run out of registers.
 */
INLINE void addRow(vf *sum, const float *factor, const vf *y) {
#if defined(__x86_64__)
  vf x;
  __asm__("vbroadcastss %3, %2\n\tvfmadd231ps %4, %2, %0\n\tvfmadd231ps %5, %2, %1"
          : "+v"(sum[0]), "+v"(sum[1]), "=&v"(x)
          : "m"(*factor), "v"(y[0]), "v"(y[1]));
#else
  UNROLL_ALL
  for (int j = 0; j < VECTORS; j++) sum[j] = FMA(splat(*factor), y[j], sum[j]);
#endif
}

INLINE float sumOf(vf value) {
  float sum = 0;
  for (int i = 0; i < LANES; i++) sum += value[i];
  return sum;
}

#endif
