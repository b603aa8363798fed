//! Which DestinationRules are in force for a service as a namespace sees it, and what they say together.
