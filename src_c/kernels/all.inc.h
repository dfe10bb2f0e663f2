/* kernels/all.inc.h - every kernel body; a new one is added here and in kernels.def. */
#include "diag.inc.h"
#include "tril.inc.h"
#include "factor.inc.h"
#include "normal_cdf.inc.h"
