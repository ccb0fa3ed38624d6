//! Links of pages in browsers, over the browser's own `RTCPeerConnection`.
//!
//! A browser makes a certificate for each connection and keeps it to itself. It chooses the addresses to offer, and may hide them
//! behind names that end in `.local`: [`LinkSettings::bind`] has no effect here.

mod carry;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use js_sys::{Array, Promise};
use send_wrapper::SendWrapper;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    RtcConfiguration, RtcDataChannel, RtcDataChannelInit, RtcDataChannelType, RtcIceCandidateInit, RtcIceServer,
    RtcIceTransportPolicy, RtcPeerConnection, RtcSdpType, RtcSessionDescriptionInit,
};

use self::carry::Carrier;
use super::description::{Candidate, Description};
use super::pipe::Pipe;
use super::progress::{self, Guard, Progress};
use super::{Begun, Channel, Link, LinkError, LinkSettings, MAX_MESSAGE, OpeningWire, Transport, Wait, Wire};
use crate::ice;
use crate::net::platform;

/// The transport of a page.
pub fn transport(settings: LinkSettings) -> Result<Transport, LinkError> {
    ice::check_all(&settings.ice_servers)?;
    Ok(Transport(Arc::new(Web { settings })))
}

struct Web {
    settings: LinkSettings,
}

// A page has one thread, so what belongs to it may be wrapped as if it could be sent to another.
impl Wire for Web {
    fn offer(self: Arc<Self>) -> Wait<'static, Begun> {
        Box::pin(SendWrapper::new(async move {
            let opening = self.connect()?;
            let offer = done(opening.connection.peer.create_offer()).await.map_err(system)?;
            let offer = opening.describe(&self.settings, RtcSdpType::Offer, offer).await?;
            Ok((opening as Arc<dyn OpeningWire>, offer))
        }))
    }

    fn answer(self: Arc<Self>, offer: String) -> Wait<'static, Begun> {
        Box::pin(SendWrapper::new(async move {
            let offer = progress::offer(&offer)?;
            let opening = self.connect()?;
            opening.progress.answers(&offer);
            opening.connection.set_remote(RtcSdpType::Offer, &offer).await?;
            let answer = done(opening.connection.peer.create_answer()).await.map_err(|_| REFUSED)?;
            let answer = opening.describe(&self.settings, RtcSdpType::Answer, answer).await?;
            Ok((opening as Arc<dyn OpeningWire>, answer))
        }))
    }
}

/// The browser found something in a description that this project did not.
const REFUSED: LinkError = LinkError::Description("refused");

impl Web {
    /// A connection with both channels, but without a peer.
    fn connect(&self) -> Result<Arc<WebOpening>, LinkError> {
        let pipe = Arc::new(Pipe::default());
        let progress = Arc::new(Progress::new(self.settings.open_timeout));
        let connection = Rc::new(Connection::new(&self.settings)?);
        let carrier =
            Carrier::new(Rc::clone(&connection), Arc::clone(&pipe), Arc::clone(&progress), self.settings.silence);
        platform::spawn(carrier.run());
        let guard = Guard { pipe: Arc::clone(&pipe), progress: Arc::clone(&progress) };
        Ok(Arc::new(WebOpening { connection: SendWrapper::new(connection), pipe, progress, _guard: guard }))
    }
}

/// A connection that is being opened.
struct WebOpening {
    connection: SendWrapper<Rc<Connection>>,
    pipe: Arc<Pipe>,
    progress: Arc<Progress>,
    _guard: Guard,
}

impl WebOpening {
    /// Makes the description this end's, and gives its text with the candidates that are known soon.
    async fn describe(&self, settings: &LinkSettings, kind: RtcSdpType, local: JsValue) -> Result<String, LinkError> {
        let local: RtcSessionDescriptionInit = local.unchecked_into();
        let text = local.get_sdp().unwrap_or_default();
        let description = Description::parse(&text)?;
        let local = RtcSessionDescriptionInit::new(kind);
        local.set_sdp(&text);
        done(self.connection.peer.set_local_description(&local)).await.map_err(system)?;
        Ok(self.progress.describe(description, settings.gather_wait).await)
    }
}

impl OpeningWire for WebOpening {
    fn accept_answer(&self, answer: String) -> Wait<'_, Result<(), LinkError>> {
        Box::pin(SendWrapper::new(async move {
            let (answer, early) = self.progress.take_answer(&answer)?;
            self.connection.set_remote(RtcSdpType::Answer, &answer).await?;
            for candidate in early {
                self.connection.add(candidate).await?;
            }
            Ok(())
        }))
    }

    fn add_candidate(&self, candidate: String) -> Wait<'_, Result<(), LinkError>> {
        Box::pin(SendWrapper::new(async move {
            match self.progress.take_candidate(&candidate)? {
                Some(candidate) => self.connection.add(candidate).await,
                None => Ok(()),
            }
        }))
    }

    fn next_candidate(&self) -> Wait<'_, Option<String>> {
        Box::pin(self.progress.next_candidate())
    }

    fn open(&self) -> Wait<'_, Result<Link, LinkError>> {
        Box::pin(self.progress.link(&self.pipe))
    }
}

/// Connections of a page, of all its nodes together. Browsers allow some 500 at once, and a closed one may count until its memory is
/// reclaimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Since the page was loaded.
    pub made: u32,
    /// Of them those that are not closed.
    pub open: u32,
}

thread_local! {
    static CONNECTIONS: RefCell<Connections> = RefCell::default();
}

/// The connections of this page so far.
pub fn connections() -> Connections {
    CONNECTIONS.with_borrow(|connections| *connections)
}

/// The browser's connection and its two channels, in the order of [`Channel::ALL`].
struct Connection {
    peer: RtcPeerConnection,
    channels: [RtcDataChannel; 2],
}

impl Connection {
    fn new(settings: &LinkSettings) -> Result<Self, LinkError> {
        let configuration = RtcConfiguration::new();
        configuration.set_ice_servers(&settings.ice_servers.iter().map(ice_server).collect::<Array>());
        if settings.relay_only {
            configuration.set_ice_transport_policy(RtcIceTransportPolicy::Relay);
        }
        let peer = RtcPeerConnection::new_with_configuration(&configuration).map_err(system)?;
        CONNECTIONS.with_borrow_mut(|connections| {
            connections.made += 1;
            connections.open += 1;
        });
        let channels = Channel::ALL.map(|channel| {
            let init = RtcDataChannelInit::new();
            init.set_negotiated(true);
            init.set_id(channel.id());
            init.set_ordered(channel == Channel::Ring);
            if channel == Channel::Data {
                init.set_max_retransmits(0);
            }
            let end = peer.create_data_channel_with_data_channel_dict(channel.label(), &init);
            end.set_binary_type(RtcDataChannelType::Arraybuffer);
            // Then a frame of any length fits again.
            end.set_buffered_amount_low_threshold((channel.queue_bytes() - MAX_MESSAGE) as u32);
            end
        });
        Ok(Connection { peer, channels })
    }

    async fn set_remote(&self, kind: RtcSdpType, description: &Description) -> Result<(), LinkError> {
        let remote = RtcSessionDescriptionInit::new(kind);
        remote.set_sdp(&description.text(MAX_MESSAGE as u32));
        done(self.peer.set_remote_description(&remote)).await.map(drop).map_err(|_| REFUSED)
    }

    async fn add(&self, candidate: Candidate) -> Result<(), LinkError> {
        let init = RtcIceCandidateInit::new(&candidate.to_string());
        init.set_sdp_mid(Some("0"));
        init.set_sdp_m_line_index(Some(0));
        let adding = self.peer.add_ice_candidate_with_opt_rtc_ice_candidate_init(Some(&init));
        done(adding).await.map(drop).map_err(|_| LinkError::Candidate)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Closed already, this does nothing.
        self.peer.close();
        CONNECTIONS.with_borrow_mut(|connections| connections.open -= 1);
    }
}

/// What a promise brings.
async fn done(promise: Promise) -> Result<JsValue, JsValue> {
    JsFuture::from(promise).await
}

fn ice_server(server: &ice::IceServer) -> JsValue {
    let object = RtcIceServer::new();
    object.set_urls(&server.urls.iter().map(|url| JsValue::from_str(url)).collect::<Array>());
    if let Some(username) = &server.username {
        object.set_username(username);
    }
    if let Some(credential) = &server.credential {
        object.set_credential(credential);
    }
    object.into()
}

fn system(error: JsValue) -> LinkError {
    let message = error.dyn_ref::<js_sys::Error>().map(|error| String::from(error.message()));
    LinkError::System(message.unwrap_or_else(|| "the browser does not say why".to_owned()))
}
