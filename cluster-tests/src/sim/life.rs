//! The life of a simulated process: up, paused (events wait for it), or down (events are lost).

/// A process and what waits for it while it is paused.
#[derive(Clone, Debug)]
pub struct Life<E> {
    state: State<E>,
    /// Starts so far: what was meant for an earlier one is not for this one.
    pub start: u64,
}

#[derive(Clone, Debug)]
enum State<E> {
    Up,
    Paused(Vec<E>),
    Down,
}

impl<E> Default for Life<E> {
    /// Not started yet.
    fn default() -> Self {
        Self { state: State::Down, start: 0 }
    }
}

impl<E> Life<E> {
    /// Hands the event back where the process can take it now; keeps it while paused, drops it while down.
    pub fn admit(&mut self, event: E) -> Option<E> {
        match &mut self.state {
            State::Up => Some(event),
            State::Paused(waiting) => {
                waiting.push(event);
                None
            }
            State::Down => None,
        }
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up)
    }

    /// Whether it is dead.
    pub fn is_down(&self) -> bool {
        matches!(self.state, State::Down)
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        matches!(self.state, State::Paused(_))
    }

    /// Freezes it where it stands.
    pub fn pause(&mut self) {
        if self.is_up() {
            self.state = State::Paused(Vec::new());
        }
    }

    /// Thaws it; what has waited comes out in order.
    pub fn resume(&mut self) -> Vec<E> {
        match std::mem::replace(&mut self.state, State::Up) {
            State::Paused(waiting) => waiting,
            other => {
                self.state = other;
                Vec::new()
            }
        }
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.state = State::Down;
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        self.state = State::Up;
        self.start += 1;
    }
}
