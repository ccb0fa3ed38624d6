//! What a call is given.

use serde::Serialize;

use super::error::CallError;
use super::value::Value;

/// The arguments of a call: a tuple of anything that serde knows (`()`, `("text", 2)`), or values.
pub trait Arguments: Send {
    /// As values.
    fn into_values(self) -> Result<Vec<Value>, CallError>;
}

impl Arguments for Vec<Value> {
    fn into_values(self) -> Result<Vec<Value>, CallError> {
        Ok(self)
    }
}

impl Arguments for &[Value] {
    fn into_values(self) -> Result<Vec<Value>, CallError> {
        Ok(self.to_vec())
    }
}

macro_rules! tuple {
    ($($name:ident),*) => {
        impl<$($name: Serialize + Send),*> Arguments for ($($name,)*) {
            fn into_values(self) -> Result<Vec<Value>, CallError> {
                #[expect(non_snake_case, reason = "each value is named as its type")]
                let ($($name,)*) = self;
                Ok(vec![$(Value::of(&$name)?),*])
            }
        }
    };
}

impl Arguments for () {
    fn into_values(self) -> Result<Vec<Value>, CallError> {
        Ok(Vec::new())
    }
}

tuple!(A);
tuple!(A, B);
tuple!(A, B, C);
tuple!(A, B, C, D);
tuple!(A, B, C, D, E);
tuple!(A, B, C, D, E, F);
tuple!(A, B, C, D, E, F, G);
tuple!(A, B, C, D, E, F, G, H);
