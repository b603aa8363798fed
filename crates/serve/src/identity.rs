//! Who is who.
mod kube;
mod parts;
