//! Patches on what is made for a small mesh.
