mod browser;
mod escaping;
mod forms;
mod safety;
mod shown;
