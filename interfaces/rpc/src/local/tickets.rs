//! What processes show to be known on the lines, and what of theirs is told.

use std::sync::Arc;

use lattice_core::provider::SecretText;
use tokio_util::sync::CancellationToken;

use super::Switchboard;
use crate::auth::Auth;
use crate::socket::Line;

/// How many tickets are remembered that are taken no more.
const MAX_WITHDRAWN: usize = 256;

/// What a process may show to be known.
#[derive(Debug, Clone)]
pub(crate) struct Ticket {
    /// The provider that it is.
    pub(crate) id: Arc<str>,
    /// It is taken no more, and its lines end.
    pub(crate) withdrawn: CancellationToken,
}

/// Who is who on the lines.
impl Switchboard {
    /// Has this process show a ticket on the lines that it opens.
    pub fn show(&self, ticket: SecretText) {
        *self.tables.ticket.write() = ticket;
    }

    pub(crate) fn shown(&self) -> SecretText {
        self.tables.ticket.read().clone()
    }

    /// Takes whoever shows `ticket` for the provider `id`, until the place is dropped, which ends the
    /// lines of those who have shown it.
    #[must_use]
    pub fn expect(&self, ticket: &SecretText, id: &str) -> Expected {
        let mut tickets = self.tables.tickets.write();
        let known = Ticket {
            id: id.into(),
            withdrawn: CancellationToken::new(),
        };
        tickets.insert(ticket.expose().into(), known);
        Expected {
            board: self.clone(),
            ticket: ticket.clone(),
        }
    }

    pub(crate) fn whose(&self, ticket: &str) -> Option<Ticket> {
        self.tables.tickets.read().get(ticket).cloned()
    }

    /// Whether somebody had this ticket until lately.
    pub(crate) fn was_withdrawn(&self, ticket: &str) -> bool {
        let withdrawn = self.tables.withdrawn.read();
        withdrawn.iter().any(|known| &**known == ticket)
    }

    /// Has `auth` tell of what processes do on the lines to the calls of others: the first that is given, since
    /// peers of this process may be those of providers.
    pub fn tell_by(&self, auth: &Auth) {
        self.tables.teller.get_or_init(|| auth.clone());
    }

    /// Tells of what the process at the other end of a line does to the call of a function that is not its
    /// own, or says of one.
    pub(crate) fn tell_of_line(&self, line: &Line, function: &str, why: &str) {
        if line.may_serve(function) {
            return;
        }
        let Some(untold) = line.turn_to_tell() else {
            return;
        };
        if let Some(auth) = self.tables.teller.get() {
            auth.tell_of_line(&line.end(), function, why, untold);
        }
    }
}

/// A ticket that is taken, until this is dropped.
#[derive(Debug)]
pub struct Expected {
    board: Switchboard,
    ticket: SecretText,
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut tickets = self.board.tables.tickets.write();
        let Some(known) = tickets.remove(self.ticket.expose()) else {
            return;
        };
        let mut withdrawn = self.board.tables.withdrawn.write();
        if withdrawn.len() == MAX_WITHDRAWN {
            withdrawn.pop_front();
        }
        withdrawn.push_back(self.ticket.expose().into());
        drop(withdrawn);
        // Let go last: a line looks among the tickets and then among the withdrawn, and has to find this one in
        // one of them.
        drop(tickets);
        known.withdrawn.cancel();
    }
}
