/* kernels/lanes.inc.h - m elements, a vector of them at most; and m of n events, an event a lane. */

/* The mask of the first m lanes. */
FD_INLINE unsigned FD_LOCAL(first_lanes)(intptr_t m)
{
    return m >= V(lanes) ? (1u << V(lanes)) - 1 : (1u << m) - 1;
}

FD_INLINE VEC FD_LOCAL(load_to)(const REAL *p, intptr_t m)
{
    return m >= V(lanes) ? V(load)(p) : V(load_first)(p, m);
}

FD_INLINE void FD_LOCAL(store_to)(REAL *p, VEC v, intptr_t m)
{
    if (m >= V(lanes))
        V(store)(p, v);
    else
        V(store_first)(p, v, m);
}

/* At element i of an operand whose stride is 0 or 1. */
FD_INLINE VEC FD_LOCAL(pick_to)(const REAL *p, intptr_t stride, intptr_t i, intptr_t m)
{
    return stride ? FD_LOCAL(load_to)(p + i, m) : V(set1)(*p);
}

/* Scales, ones in the lanes beyond. */
FD_INLINE VEC FD_LOCAL(pick_scale)(const REAL *p, intptr_t stride, intptr_t m)
{
    const VEC v = FD_LOCAL(pick_to)(p, stride, 0, m);
    return m >= V(lanes) ? v : V(select)(FD_LOCAL(first_lanes)(m), v, V(set1)(1));
}

/* m elements of n events x += ld to as many vectors, zeros in the lanes beyond. Best with compile-time constants. */
FD_INLINE void FD_LOCAL(load_columns)(intptr_t n, intptr_t m, VEC *v, const REAL *x, intptr_t ld)
{
    if (n >= V(lanes) && m >= V(lanes))
        V(load_square)(v, x, ld, V(lanes));
    else if (n >= V(lanes) && 2 * m == V(lanes))
        V(load_square)(v, x, ld, V(lanes) / 2);
    else {
        FD_UNROLL
        for (int j = 0; j < V(lanes); j++)
            v[j] = j < n ? FD_LOCAL(load_to)(x + j * ld, m) : V(set1)(0);
        V(transpose)(v);
    }
}

/* Of sums of 0 a: whether every a is finite. */
FD_INLINE int FD_LOCAL(all_finite)(VEC sum)
{
    return V(below)(sum, V(set1)(1)) == FD_LOCAL(first_lanes)(V(lanes));
}
