/* Stand-in for a header that libfabric has from 1.20 on and Debian 12's 1.17 lacks; the bindings only need the names. */
#pragma once
#if __has_include(<rdma/fi_profile.h>)
#include <rdma/fi_profile.h>
#else
struct fid_profile;
struct fi_profile_desc;
#endif
