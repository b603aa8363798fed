//! What does not fit together across objects: hosts that match no service, subsets that match no pod. One question per object.
