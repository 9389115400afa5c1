//! Bad input and bad weather: a clear error, its reason and hint, exit code 1, and nothing left behind.

use crate::trials;

trials!(weather:);
