//! What is told apart here.
