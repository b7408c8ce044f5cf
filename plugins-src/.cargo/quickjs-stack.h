/* QuickJS keeps to no bound on its stack where it is compiled for WASI, though stack and frames are there as everywhere. What else
   it asks about WASI stands in cutils.h; behind that it is not told. */
#include "cutils.h"
#undef __wasi__
