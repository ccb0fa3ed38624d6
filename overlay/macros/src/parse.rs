//! The trait, as far as it can be a service; what cannot be is an error at its place.

use proc_macro2::{Ident, TokenStream};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, GenericArgument, ItemTrait, Lit, Meta, Pat, PathArguments, ReceiverKind,
    Result, ReturnType, TraitItem, TraitItemFn, Type, parse_quote,
};

/// Names that the client has for itself.
const RESERVED: [&str; 4] = ["new", "connect", "remote", "into_object"];

/// A trait that can be a service.
pub(crate) struct Service {
    pub(crate) item: ItemTrait,
    pub(crate) doc: String,
    pub(crate) functions: Vec<Function>,
}

/// One of its functions.
pub(crate) struct Function {
    /// As it is named in the trait.
    pub(crate) ident: Ident,
    /// Documentation, and whatever else stands before it.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) doc: String,
    pub(crate) inputs: Vec<Input>,
    /// What it gives in the trait.
    pub(crate) output: Type,
    pub(crate) gives: Gives,
    pub(crate) fallible: bool,
}

/// What a function takes.
pub(crate) enum Input {
    Argument { ident: Ident, ty: Type },
    Caller { ident: Ident, ty: Type, by_reference: bool },
}

/// What a caller gets.
pub(crate) enum Gives {
    Value(Type),
    Items(Type),
    Bytes,
}

impl Service {
    pub(crate) fn parse(attribute: TokenStream, item: TokenStream) -> Result<Self> {
        if !attribute.is_empty() {
            return Err(Error::new(attribute.span(), "this attribute takes nothing: write #[atoll::service]"));
        }
        let item: ItemTrait = syn::parse2(item)
            .map_err(|error| Error::new(error.span(), "a service is a trait: #[atoll::service] trait Name { ... }"))?;
        if !item.generics.params.is_empty() {
            return Err(Error::new(item.generics.span(), "a service has no generic parameters"));
        }
        let mut functions = Vec::new();
        let mut errors: Option<Error> = None;
        for inner in &item.items {
            let parsed = match inner {
                TraitItem::Fn(function) => Function::parse(function),
                other => Err(Error::new(other.span(), "a service has nothing but functions")),
            };
            match (parsed, &mut errors) {
                (Ok(function), _) => functions.push(function),
                (Err(error), Some(errors)) => errors.combine(error),
                (Err(error), None) => errors = Some(error),
            }
        }
        match errors {
            Some(errors) => Err(errors),
            None => Ok(Service { doc: documentation(&item.attrs), item, functions }),
        }
    }
}

impl Function {
    fn parse(function: &TraitItemFn) -> Result<Self> {
        let signature = &function.sig;
        if signature.asyncness.is_none() {
            return Err(Error::new(signature.fn_token.span(), "a function of a service is async: it may be far away"));
        }
        if let Some(body) = &function.default {
            let message = "a function of a service has no body here; write it where the trait is implemented";
            return Err(Error::new(body.span(), message));
        }
        if !signature.generics.params.is_empty() {
            return Err(Error::new(signature.generics.span(), "a function of a service has no generic parameters"));
        }
        if RESERVED.contains(&signature.ident.to_string().as_str()) {
            let message =
                format!("the client has a function {:?} of its own; choose another name", signature.ident.to_string());
            return Err(Error::new(signature.ident.span(), message));
        }
        let mut inputs = signature.inputs.iter();
        match inputs.next() {
            Some(FnArg::Receiver(this)) if matches!(this.kind, ReceiverKind::Reference(_, None, None)) => {}
            other => {
                let span = other.map_or(signature.ident.span(), Spanned::span);
                return Err(Error::new(span, "a function of a service takes &self first: many call it at once"));
            }
        }
        let inputs = inputs.map(Input::parse).collect::<Result<Vec<_>>>()?;
        let output = match &signature.output {
            ReturnType::Default => parse_quote!(()),
            ReturnType::Type(_, ty) => (**ty).clone(),
        };
        let (inner, fallible) = match argument_of(&output, "Result") {
            Some(inner) => (inner, true),
            None => (output.clone(), false),
        };
        let gives = match (argument_of(&inner, "Items"), last_name(&inner).as_deref()) {
            (Some(item), _) => Gives::Items(item),
            (None, Some("Reply")) => Gives::Bytes,
            (None, _) => Gives::Value(owned(inner)?),
        };
        Ok(Function {
            ident: signature.ident.clone(),
            attributes: function.attrs.clone(),
            doc: documentation(&function.attrs),
            inputs,
            output,
            gives,
            fallible,
        })
    }

    /// The name on the wire.
    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    /// The arguments that a caller gives.
    pub(crate) fn arguments(&self) -> Vec<(&Ident, &Type)> {
        self.inputs.iter().filter_map(Input::argument).collect()
    }

    /// Their names; those that may be left out end with `?`.
    pub(crate) fn parameters(&self) -> Vec<String> {
        let arguments = self.arguments();
        let needed = arguments.iter().rposition(|(_, ty)| last_name(ty).as_deref() != Some("Option"));
        let needed = needed.map_or(0, |last| last + 1);
        let name = |(at, (ident, _)): (usize, &(&Ident, &Type))| {
            let mark = if at < needed { "" } else { "?" };
            format!("{}{mark}", ident.unraw())
        };
        arguments.iter().enumerate().map(name).collect()
    }
}

impl Input {
    fn argument(&self) -> Option<(&Ident, &Type)> {
        match self {
            Input::Argument { ident, ty } => Some((ident, ty)),
            Input::Caller { .. } => None,
        }
    }

    fn parse(input: &FnArg) -> Result<Self> {
        let FnArg::Typed(typed) = input else { return Err(Error::new(input.span(), "self comes first")) };
        let Pat::Ident(pattern) = &*typed.pat else {
            return Err(Error::new(typed.pat.span(), "an argument of a service has a plain name, which callers see"));
        };
        let ident = pattern.ident.clone();
        let ty = (*typed.ty).clone();
        let (inner, by_reference) = match &ty {
            Type::Reference(reference) => (&*reference.elem, true),
            other => (other, false),
        };
        if last_name(inner).as_deref() == Some("Caller") {
            return Ok(Input::Caller { ident, ty, by_reference });
        }
        Ok(Input::Argument { ident, ty: owned(ty)? })
    }
}

/// What comes from another node belongs to nobody here.
fn owned(ty: Type) -> Result<Type> {
    match &ty {
        Type::Reference(reference) => {
            Err(Error::new(reference.span(), "this comes from another node, so it is owned: String instead of &str"))
        }
        Type::ImplTrait(of) => {
            Err(Error::new(of.span(), "this must have a name; many results are Items<T>, bytes are Reply"))
        }
        _ => Ok(ty),
    }
}

/// The last name of a path: `Caller` of `atoll::object::Caller`.
fn last_name(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        _ => None,
    }
}

/// The first generic argument of a type with this name.
fn argument_of(ty: &Type, name: &str) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let segment = path.path.segments.last().filter(|segment| segment.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    }
}

/// The documentation comments, as one text.
fn documentation(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| {
        let Meta::NameValue(pair) = &attribute.meta else { return None };
        let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value else { return None };
        let text = text.value();
        attribute.path().is_ident("doc").then(|| text.strip_prefix(' ').unwrap_or(&text).trim_end().to_owned())
    };
    attributes.iter().filter_map(line).collect::<Vec<_>>().join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    /// What the macro says of this trait.
    fn refused(item: TokenStream) -> String {
        match Service::parse(TokenStream::new(), item) {
            Ok(_) => panic!("it is taken"),
            Err(error) => error.into_iter().map(|error| error.to_string()).collect::<Vec<_>>().join("; "),
        }
    }

    #[test]
    fn what_cannot_be_a_service_is_told() {
        assert!(refused(quote! { struct Echo; }).starts_with("a service is a trait"));
        assert!(refused(quote! { trait Echo<T> {} }).starts_with("a service has no generic parameters"));
        assert!(refused(quote! { trait Echo { type X; } }).starts_with("a service has nothing but functions"));
        let of_function = |function: TokenStream| refused(quote! { trait Echo { #function } });
        assert!(of_function(quote! { fn echo(&self); }).contains("is async"));
        assert!(of_function(quote! { async fn echo(); }).contains("takes &self first"));
        assert!(of_function(quote! { async fn echo(&mut self); }).contains("takes &self first"));
        assert!(of_function(quote! { async fn echo(self); }).contains("takes &self first"));
        assert!(of_function(quote! { async fn echo(&self) {} }).contains("has no body here"));
        assert!(of_function(quote! { async fn echo<T>(&self, t: T); }).contains("no generic parameters"));
        assert!(of_function(quote! { async fn echo(&self, m: &str); }).contains("String instead of &str"));
        assert!(of_function(quote! { async fn echo(&self) -> &str; }).contains("String instead of &str"));
        assert!(of_function(quote! { async fn echo(&self, (a, b): (u8, u8)); }).contains("a plain name"));
        assert!(of_function(quote! { async fn echo(&self) -> impl Stream<Item = u8>; }).contains("Items<T>"));
        assert!(of_function(quote! { async fn connect(&self); }).contains("of its own"));
        let error = Service::parse(quote! { name = "x" }, quote! { trait Echo {} }).err().expect("it is refused");
        assert!(error.to_string().contains("takes nothing"));
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let both = refused(quote! { trait Echo { fn a(&self); async fn b(&self) {} } });
        assert!(both.contains("is async") && both.contains("has no body here"), "{both}");
    }

    #[test]
    fn what_a_function_takes_and_gives_is_understood() {
        let item = quote! {
            /// Says things
            /// back.
            trait Echo {
                /// Who?
                async fn who(&self, caller: &atoll::object::Caller, a: Option<u8>, r#type: u8, b: Option<u8>) -> Result<u8, E>;
                async fn many(&self) -> Result<Items<u8>, E>;
                async fn bytes(&self) -> atoll::object::Reply;
            }
        };
        let service = Service::parse(TokenStream::new(), item).unwrap();
        assert_eq!(service.doc, "Says things\nback.");
        let [who, many, bytes] = &service.functions[..] else { panic!("{} functions", service.functions.len()) };
        assert_eq!((who.doc.as_str(), who.fallible), ("Who?", true));
        assert_eq!(who.parameters(), ["a", "type", "b?"]);
        assert!(matches!(who.gives, Gives::Value(_)));
        assert!(matches!(many.gives, Gives::Items(_)) && many.fallible);
        assert!(matches!(bytes.gives, Gives::Bytes) && !bytes.fallible);
    }
}
