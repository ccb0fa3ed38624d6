//! What a service becomes: its trait, its object, its client.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::ItemTrait;
use syn::spanned::Spanned;

use crate::parse::{Function, Gives, Input, Service};

pub(crate) fn expand(service: &Service) -> TokenStream {
    let ItemTrait { attrs, vis, unsafety, ident, supertraits, .. } = &service.item;
    let declared = service.functions.iter().map(declaration);
    let provided = service.functions.iter().map(|function| provider(service, function));
    let doc = &service.doc;
    let supertraits = if supertraits.is_empty() { quote!() } else { quote!(#supertraits +) };
    let client = client(service);
    quote! {
        #(#attrs)*
        #vis #unsafety trait #ident: #supertraits ::core::marker::Send + ::core::marker::Sync + 'static {
            #(#declared)*

            /// The object that provides this, for `Node::provide`.
            fn into_object(self) -> ::atoll::object::Object
            where
                Self: ::core::marker::Sized,
            {
                let this = ::std::sync::Arc::new(self);
                ::atoll::object::Object::new().doc(#doc) #(#provided)*
            }
        }

        #client
    }
}

/// In the trait: as `async fn`, with a future that can go from thread to thread.
fn declaration(function: &Function) -> TokenStream {
    let Function { ident, attributes, output, .. } = function;
    let inputs = function.inputs.iter().map(|input| match input {
        Input::Argument { ident, ty } | Input::Caller { ident, ty, .. } => quote!(#ident: #ty),
    });
    quote! {
        #(#attributes)*
        fn #ident(&self #(, #inputs)*) -> impl ::core::future::Future<Output = #output> + ::core::marker::Send;
    }
}

/// Of the object: what takes the arguments apart and calls the trait's function.
fn provider(service: &Service, function: &Function) -> TokenStream {
    let trait_ident = &service.item.ident;
    let Function { ident, doc, .. } = function;
    let (name, parameters) = (function.name(), function.parameters());
    let mut index = 0usize;
    let mut taken = Vec::new();
    let given: Vec<_> = function
        .inputs
        .iter()
        .map(|input| match input {
            Input::Argument { ident, ty } => {
                // An argument of a type that serde does not know is marked at its type.
                taken.push(quote_spanned!(ty.span()=> let #ident = __call.arg::<#ty>(#index)?;));
                index += 1;
                quote!(#ident)
            }
            Input::Caller { by_reference: true, .. } => quote!(__call.caller()),
            Input::Caller { .. } => quote!(::core::clone::Clone::clone(__call.caller())),
        })
        .collect();
    let done = quote!(<Self as #trait_ident>::#ident(&*this #(, #given)*).await);
    let done = match function.fallible {
        true => quote_spanned!(function.output.span()=> #done.map_err(::atoll::object::Failure::from)),
        false => quote!(::core::result::Result::<_, ::atoll::object::Failure>::Ok(#done)),
    };
    let gives = match &function.gives {
        Gives::Value(_) => quote!(Value),
        Gives::Items(_) => quote!(Stream),
        Gives::Bytes => quote!(Bytes),
    };
    quote! {
        .function(#name, {
            let this = ::std::sync::Arc::clone(&this);
            ::atoll::object::Function::new(move |__call: ::atoll::object::Call| {
                let this = ::std::sync::Arc::clone(&this);
                async move {
                    #(#taken)*
                    #done
                }
            })
            .doc(#doc)
            .parameters([#(#parameters),*] as [&str; _])
            .gives(::atoll::object::Gives::#gives)
        })
    }
}

fn client(service: &Service) -> TokenStream {
    let (vis, ident) = (&service.item.vis, &service.item.ident);
    let client = format_ident!("{ident}Client");
    let about = format!("A [`{ident}`] of another node.");
    let functions = service.functions.iter().map(|function| client_function(vis, function));
    quote! {
        #[doc = #about]
        #[derive(Clone, Debug)]
        #vis struct #client {
            remote: ::atoll::object::Remote,
        }

        impl #client {
            /// Uses this remote object.
            #vis fn new(remote: ::atoll::object::Remote) -> Self {
                #client { remote }
            }

            /// Asks a peer for its service of this name.
            #vis async fn connect(
                peer: &::atoll::object::Peer,
                service: &str,
            ) -> ::core::result::Result<Self, ::atoll::object::CallError> {
                peer.service(service).await.map(Self::new)
            }

            /// The remote object.
            #vis fn remote(&self) -> &::atoll::object::Remote {
                &self.remote
            }

            #(#functions)*
        }
    }
}

fn client_function(vis: &syn::Visibility, function: &Function) -> TokenStream {
    let Function { ident, attributes, .. } = function;
    let name = function.name();
    let (names, types): (Vec<_>, Vec<_>) = function.arguments().into_iter().unzip();
    let (gives, call) = match &function.gives {
        Gives::Value(ty) => (quote!(#ty), quote!(call)),
        Gives::Items(ty) => (quote!(::atoll::object::Results<#ty>), quote!(stream)),
        Gives::Bytes => (quote!(::atoll::object::ByteStream), quote!(bytes)),
    };
    let values =
        names.iter().zip(&types).map(|(name, ty)| quote_spanned!(ty.span()=> ::atoll::object::Value::of(&#name)?));
    let about = function.doc.is_empty().then(|| format!("Calls `{name}`."));
    let about = about.map(|about| quote!(#[doc = #about]));
    let arguments = quote!(::std::vec::Vec::<::atoll::object::Value>::from([#(#values),*]));
    quote! {
        #about
        #(#attributes)*
        #vis async fn #ident(
            &self
            #(, #names: #types)*
        ) -> ::core::result::Result<#gives, ::atoll::object::CallError> {
            self.remote.#call(#name, #arguments).await
        }
    }
}
