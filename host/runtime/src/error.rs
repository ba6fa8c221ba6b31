//! What can go wrong at start, when preparing a component, and in a call.

use std::time::Duration;

use lattice_codec::http::ErrorCode;

use crate::{CodecError, InvokeError};

/// Why the runtime could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The settings contradict each other or this machine.
    #[error("runtime setting `{setting}` is invalid: {why}")]
    Setting {
        /// The field of [`RuntimeConfig`](crate::RuntimeConfig).
        setting: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The engine could not be built, most likely because the address space for the instances
    /// cannot be reserved.
    #[error(
        "could not set up an engine for {instances} instances of {memory} bytes; \
         lower `max_instances` or raise the limit on virtual memory"
    )]
    Engine {
        /// The number of instances asked for.
        instances: u32,
        /// The memory of each.
        memory: u64,
        /// Why.
        source: wasmtime::Error,
    },
    /// The host functions could not be registered.
    #[error("could not register the host's functions")]
    Linker(#[source] wasmtime::Error),
    /// The thread that interrupts busy guests could not be started.
    #[error("could not start the thread that interrupts busy components")]
    Ticker(#[source] std::io::Error),
}

/// Why bytes did not become a component that can be called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The file is larger than the host accepts.
    #[error("the component has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The bytes are neither a component nor a core module.
    #[error("the file is not WebAssembly: it starts with {found}")]
    NotWasm {
        /// What it looks like.
        found: String,
    },
    /// A core module that cannot be made into a component.
    #[error("the core module cannot be made into a component: {reason}")]
    CoreModule {
        /// Why, in one line.
        reason: String,
    },
    /// The bytes could not be compiled.
    #[error("could not compile the component")]
    Compile(#[source] wasmtime::Error),
    /// It took too long to compile. Once it is compiled after all, code that is kept is used.
    #[error(
        "the component was not compiled within {within:?}, and is not compiled again for some minutes"
    )]
    Slow {
        /// How long it might have taken.
        within: Duration,
    },
    /// Imports that neither the host nor a link can provide.
    #[error("the component imports what no link can provide: {}", .imports.join("; "))]
    UnsatisfiedImports {
        /// Each import with the reason.
        imports: Vec<String>,
    },
    /// Its instances would be allowed more memory than this machine's engine can give one.
    #[error("a memory limit of {wanted} bytes is more than the {largest} of an instance here")]
    MemoryLimit {
        /// The limit asked for, in bytes.
        wanted: u64,
        /// The greatest possible, in bytes.
        largest: u64,
    },
    /// The component does not fit what the host offers, such as a wrong type of a known function.
    #[error("could not link the component")]
    Link(#[source] wasmtime::Error),
    /// The compiling task was ended with its runtime.
    #[error("the runtime was shut down while the component was compiled")]
    ShutDown,
}

/// Why compiled code is not given to other hosts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealCodeError {
    /// The engine does not give the code out.
    #[error("could not read the compiled code")]
    Code(#[source] wasmtime::Error),
    /// It could not be compressed.
    #[error("could not compress the compiled code")]
    Pack(#[source] std::io::Error),
    /// It is larger than hosts accept.
    #[error("{size} bytes of compiled code are more than is shared")]
    TooLarge {
        /// Its size in bytes, not compressed.
        size: u64,
    },
    /// It could not be signed.
    #[error("could not sign the compiled code")]
    Sign(#[source] lattice_claims::KeyError),
}

/// Why a call of an export ended without a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The parameters are not what the function takes.
    #[error("the parameters do not fit `{function}`")]
    Params {
        /// The export that was called.
        function: String,
        /// What is wrong.
        source: CodecError,
    },
    /// The results cannot be put on the wire.
    #[error("the results of `{function}` cannot be encoded")]
    Results {
        /// The export that was called.
        function: String,
        /// What is wrong.
        source: CodecError,
    },
    /// The call used up its CPU budget.
    #[error("the component was stopped after {budget:?} of CPU time")]
    CpuBudget {
        /// The budget.
        budget: Duration,
    },
    /// The call's time ran out.
    #[error("the call did not end before its deadline")]
    Deadline,
    /// The instance asked for more memory than it may have and gave up.
    #[error("the component needs {wanted} bytes of memory, more than its limit of {limit}")]
    Memory {
        /// What it asked for, all memories and tables together.
        wanted: u64,
        /// Its limit.
        limit: u64,
    },
    /// The guest used up its stack, as endless recursion does.
    #[error("the component exhausted its stack")]
    StackOverflow,
    /// As many instances run as the host has room for.
    #[error("the host has no room for a further instance")]
    NoRoom,
    /// The guest ended itself with `wasi:cli/exit`.
    #[error("the component exited with code {code}")]
    Exit {
        /// The code; zero is an exit without a result, too.
        code: i32,
    },
    /// An import that the guest called failed and its type has no place for the error.
    #[error("a call of the component failed")]
    Import(#[source] InvokeError),
    /// The guest returned `err` where the wire carries only success.
    #[error("the component returned an error: {message}")]
    Refused {
        /// What the error says.
        message: String,
    },
    /// The guest trapped.
    #[error("the component trapped: {message}")]
    Trap {
        /// Why.
        message: String,
        /// Where, one frame a line, innermost first. May be empty.
        backtrace: String,
    },
    /// The export belongs to another component, or is called in a way that its kind does not allow.
    #[error("`{function}` cannot be called this way")]
    WrongExport {
        /// The export.
        function: String,
    },
}

impl CallError {
    /// Whether the failure says something about the host rather than about the component.
    pub fn is_overload(&self) -> bool {
        matches!(self, Self::NoRoom)
    }
}

/// Why an HTTP request got no response from the component.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpCallError {
    /// The component does not export `wasi:http/incoming-handler`.
    #[error("the component does not handle HTTP requests")]
    NotAHandler,
    /// The request cannot be handed to a guest.
    #[error("the request is invalid: {reason}")]
    Request {
        /// What is wrong with it.
        reason: String,
    },
    /// The guest answered with an error instead of a response.
    #[error("the component answered with an error")]
    Guest(ErrorCode),
    /// The guest returned without having answered.
    #[error("the component returned without a response")]
    NoResponse,
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}
