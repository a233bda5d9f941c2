//! A run that goes on: plain lines for a pipe, and a frame for a terminal.
