/* kernels/lanes.inc.h - m elements, a vector of them at most. */

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
