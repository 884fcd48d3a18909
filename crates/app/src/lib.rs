//! The stoat server and its command line, as a library.
