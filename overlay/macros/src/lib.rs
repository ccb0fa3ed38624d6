//! The attribute macro of Atoll's objects. Use it as `atoll::service`, where it is documented.

mod expand;
mod parse;

use proc_macro::TokenStream;

/// Makes a typed client and a provider of one trait: both ends agree by its definition.
///
/// ```ignore
/// /// Says things back.
/// #[atoll::service]
/// pub trait Echo {
///     /// Says it back.
///     async fn echo(&self, m: String) -> String;
///     /// The square root, if there is one.
///     async fn root(&self, x: f64) -> Result<f64, NegativeError>;
///     /// Counts up.
///     async fn count(&self, to: u32) -> Items<u32>;
///     /// Who asks?
///     async fn whoami(&self, caller: &Caller) -> String;
/// }
/// ```
///
/// The trait is what the provider implements, with `async fn`s; `into_object(self)` makes an `Object` of the implementation.
/// `EchoClient` is what the caller uses: `EchoClient::connect(&peer, "Echo").await?`, or `EchoClient::new(remote)`. Its functions
/// are those of the trait, and give a `Result` with `CallError` besides.
///
/// - Arguments and results are owned types that serde can take apart and put together (`Serialize + DeserializeOwned`).
///   Trailing arguments that are an `Option` may be left out by callers without types.
/// - A function that gives `Result<T, E>` fails by `Err`: the caller gets `CallError::Failed` with its text. `E` is any error, or
///   `Failure`, which can carry data.
/// - `Items<T>` is a stream: the client gets `Results<T>`. `Reply` is for bytes: the client gets a `ByteStream`.
/// - An argument of the type `&Caller` or `Caller` is no argument to the client: it tells the provider who calls.
/// - Documentation comments go into the shape of the object.
#[proc_macro_attribute]
pub fn service(attribute: TokenStream, item: TokenStream) -> TokenStream {
    parse::Service::parse(attribute.into(), item.into())
        .map_or_else(syn::Error::into_compile_error, |service| expand::expand(&service))
        .into()
}
