/* isa/scalar.c - plain C, one lane: there on every CPU, and the reference for the others. */
#include "../vec/scalar.h"
#define FD_ISA scalar
#include "target.inc.h"
