/* kernels/all.inc.h - every kernel body; a new one is added here and in kernels.def. */
#include "lanes.inc.h"
#include "exp.inc.h"
#if REAL_IS_DOUBLE
#include "mills.inc.h"
#include "normal_tail.inc.h"
#endif
#include "diag.inc.h"
#include "normal_kl.inc.h"
#include "lanes_of_transforms.inc.h"
#include "transforms.inc.h"
#include "categorical.inc.h"
#include "tril.inc.h"
#include "tiles.inc.h"
#include "whiten.inc.h"
#include "solve_tril.inc.h"
#include "mahalanobis.inc.h"
#include "factor.inc.h"
#if REAL_IS_DOUBLE
#include "cholesky.inc.h"
#else
#include "cholesky_float.inc.h"
#endif
#include "blocked.inc.h"
#include "rank_update.inc.h"
#include "add_products.inc.h"
#include "truncated_normal.inc.h"
#include "sums.inc.h"
#include "score_diag.inc.h"
#include "normal_cdf.inc.h"
#include "score_cdf.inc.h"
#include "score_tril.inc.h"
#include "transform_tril.inc.h"
#include "mvn_kl.inc.h"
