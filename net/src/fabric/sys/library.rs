//! libfabric, loaded when the fabric is first used.
//!
//! It is not linked, because a process that has no use for it should not pay for it: constructors of libraries that Debian's libfabric brings
//! along take 0.2 s, and its providers read all of `/proc/kallsyms`. Of the library itself only these functions are called; everything else goes
//! through the tables of functions in libfabric's objects. Where a newer libfabric is found than the one built against, its default version of
//! each function is taken: structures grow at their ends only, and all of ours come from the library.
#![allow(unsafe_code, reason = "loads libfabric")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use libfabric_sys::bindgen as fi;

use super::signals::Handlers;
use crate::NetError;

/// The name that libfabric has had since its first version.
const NAME: &CStr = c"libfabric.so.1";

/// What is called by name.
pub(super) struct Library {
    pub(super) getinfo: GetInfo,
    pub(super) freeinfo: unsafe extern "C" fn(*mut fi::fi_info),
    pub(super) dupinfo: unsafe extern "C" fn(*const fi::fi_info) -> *mut fi::fi_info,
    pub(super) fabric: unsafe extern "C" fn(*mut fi::fi_fabric_attr, *mut *mut fi::fid_fabric, *mut c_void) -> c_int,
    pub(super) strerror: unsafe extern "C" fn(c_int) -> *const c_char,
}

type GetInfo = unsafe extern "C" fn(u32, *const c_char, *const c_char, u64, *const fi::fi_info, *mut *mut fi::fi_info) -> c_int;

static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();

/// The library, loaded and with its providers ready. Takes 0.3 s the first time; meanwhile others who ask wait.
pub(super) fn library() -> Result<&'static Library, NetError> {
    let loaded = LIBRARY.get_or_init(|| {
        // Libraries that come along take signals: what the process had set comes back.
        let handlers = Handlers::save();
        let loaded = Library::load();
        handlers.restore();
        loaded
    });
    loaded.as_ref().map_err(|reason| NetError::Fabric { call: "dlopen", reason: reason.clone() })
}

impl Library {
    fn load() -> Result<Self, String> {
        // SAFETY: a library that may be loaded at any time; its constructors are its own affair.
        let handle = unsafe { libc::dlopen(NAME.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(load_error());
        }
        // SAFETY: these are libfabric's functions of that name, with the types that its headers give them; it is never unloaded.
        let this = unsafe {
            Self {
                getinfo: std::mem::transmute::<*mut c_void, GetInfo>(symbol(handle, c"fi_getinfo")?),
                freeinfo: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut fi::fi_info)>(symbol(handle, c"fi_freeinfo")?),
                dupinfo: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*const fi::fi_info) -> *mut fi::fi_info>(symbol(
                    handle,
                    c"fi_dupinfo",
                )?),
                fabric: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(*mut fi::fi_fabric_attr, *mut *mut fi::fid_fabric, *mut c_void) -> c_int,
                >(symbol(handle, c"fi_fabric")?),
                strerror: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(c_int) -> *const c_char>(symbol(handle, c"fi_strerror")?),
            }
        };
        this.prepare();
        Ok(this)
    }

    /// Has the library prepare its providers, which it does when it is first asked for any.
    fn prepare(&self) {
        let mut info = null_mut();
        // SAFETY: hints may be absent; whatever comes back is freed.
        unsafe {
            if (self.getinfo)(super::info::API_VERSION, null(), null(), fi::FI_PROV_ATTR_ONLY, null(), &mut info) == 0 {
                (self.freeinfo)(info);
            }
        }
    }
}

/// # Safety
/// The handle is of a loaded library.
unsafe fn symbol(handle: *mut c_void, name: &CStr) -> Result<*mut c_void, String> {
    // SAFETY: the handle is valid, as the caller says.
    let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
    if found.is_null() { Err(load_error()) } else { Ok(found) }
}

fn load_error() -> String {
    // SAFETY: it gives a string or null; the string is read before anything else is loaded by this thread.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return format!("{} cannot be loaded", NAME.to_string_lossy());
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
