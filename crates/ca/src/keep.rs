//! Where signers and their state are kept between runs.   Start at [`file::Folder`].

pub mod file;
