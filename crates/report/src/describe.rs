//! Text for `scenario show` and `scenario list`.
