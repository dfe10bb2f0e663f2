/* kernels/all.inc.h - every kernel body; a new one is added here and in kernels.def. */
#include "lanes.inc.h"
#include "diag.inc.h"
#include "tril.inc.h"
#include "whiten.inc.h"
#include "mahalanobis.inc.h"
#include "factor.inc.h"
#include "cholesky.inc.h"
#include "normal_cdf.inc.h"
